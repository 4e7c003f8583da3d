"""Effects and diagnostics as CSV, Markdown and LaTeX (OUT-5), safe to open in a spreadsheet (SEC-10)."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from causal_orchestrator.question import shown
from causal_orchestrator.reporting import words
from causal_orchestrator.reporting.results_document import ResultsDocument

Cell = str | float | int | bool | None

# What a spreadsheet takes for the start of a formula (OWASP ASVS 1.2.10).
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\0")
_LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%", "_": r"\_",
    "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "−": r"\ensuremath{-}", "–": "--",
}  # fmt: skip

EFFECTS = (
    "method", "estimand", "role", "status", "estimate", "std_error", "ci_lower", "ci_upper", "confidence_level",
    "p_value", "n", "n_treated", "energy_score", "inference", "error",
)  # fmt: skip
DIAGNOSTICS = ("name", "value", "threshold", "passed", "detail")
SENSITIVITIES = ("method", "value", "passed", "interpretation")
PATHS = tuple(
    f"tables/{name}.{end}" for name in ("effects", "diagnostics", "sensitivity") for end in ("csv", "md", "tex")
)


def build(document: ResultsDocument) -> dict[str, bytes]:
    """Return the tables by path: effects, diagnostics and sensitivity, each as CSV, Markdown and LaTeX."""
    sources = {
        "effects": (EFFECTS, document.treatment_effects),
        "diagnostics": (DIAGNOSTICS, document.diagnostics),
        "sensitivity": (SENSITIVITIES, document.sensitivity_results),
    }
    files: dict[str, bytes] = {}
    for name, (columns, records) in sources.items():
        rows = [[getattr(record, column) for column in columns] for record in records]
        files[f"tables/{name}.csv"] = to_csv(columns, rows).encode("utf-8")
        files[f"tables/{name}.md"] = to_markdown(columns, rows).encode("utf-8")
        files[f"tables/{name}.tex"] = to_latex(columns, rows).encode("utf-8")
    return files


def to_csv(columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> str:
    """Return an RFC 4180 table in which no text can be taken for a formula and every number stays a number."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\r\n")
    writer.writerow([_neutral(column) for column in columns])
    writer.writerows([_neutral(cell) for cell in row] for row in rows)
    return buffer.getvalue()


def to_markdown(columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> str:
    """Return a Markdown table in which text stays text."""
    lines = [columns, ["---"] * len(columns), *[[words.markdown(_readable(cell)) for cell in row] for row in rows]]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def to_latex(columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> str:
    """Return a LaTeX tabular (booktabs) in which text stays text."""

    def line(cells: Sequence[str]) -> str:
        return " & ".join(_latex(cell) for cell in cells) + r" \\"

    body = [line([_readable(cell) for cell in row]) for row in rows]
    head = [rf"\begin{{tabular}}{{{'l' * len(columns)}}}", r"\toprule", line(columns), r"\midrule"]
    return "\n".join([*head, *body, r"\bottomrule", r"\end{tabular}", ""])


def _neutral(cell: Cell) -> Cell:
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULA) else cell


def _readable(cell: Cell) -> str:
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if isinstance(cell, int | float):
        return words.number(cell)
    return words.NOT_A_NUMBER if cell is None else shown(cell, 2000)


def _latex(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in text)
