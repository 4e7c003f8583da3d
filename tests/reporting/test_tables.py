import csv
import io

from hypothesis import given
from hypothesis import strategies as st
from tests.reporting import sample
from tests.reporting.names import HOSTILE

from causal_orchestrator.reporting import tables
from causal_orchestrator.reporting.results_document import build

TEXT = st.text(alphabet=st.characters(codec="utf-8"), max_size=30)
STARTS = ("=", "+", "-", "@", "\t", "\r", "\0")


def is_number(cell):
    try:
        float(cell)
    except ValueError:
        return False
    return True


@given(st.lists(st.tuples(TEXT, st.floats(allow_nan=False, allow_infinity=False)), max_size=5))
def test_no_text_starts_a_formula_and_every_number_is_untouched(rows):
    read = list(csv.reader(io.StringIO(tables.to_csv(["=name", "value"], rows), newline="")))
    assert read[0][0] == "'=name"
    for (text, value), (shown, number) in zip(rows, read[1:], strict=True):
        assert not shown.startswith(STARTS)
        assert shown == (f"'{text}" if text.startswith(STARTS) else text)
        assert float(number) == value


def test_negative_numbers_stay_numbers():
    assert tables.to_csv(["x"], [[-1.5], ["-1.5"]]).split("\r\n")[1:3] == ["-1.5", "'-1.5"]


def test_latex_has_no_live_command_from_text():
    text = tables.to_latex(["name"], [[r"\input{/etc/passwd} & $x$ % _ # ^ ~"]])
    row = text.splitlines()[4]
    assert r"\input" not in row
    assert row.count(" & ") == 0
    assert row.endswith(r"\\")


def test_markdown_tables_keep_their_columns():
    text = tables.to_markdown(["a", "b"], [[name, 1.0] for name in HOSTILE])
    assert all(line.count("|") == 3 for line in text.splitlines())


def test_the_tables_of_a_job_hold_its_numbers():
    document = build(sample.job(), {})
    files = tables.build(document)
    assert set(files) == set(tables.PATHS)
    rows = list(csv.DictReader(io.StringIO(files["tables/effects.csv"].decode())))
    assert float(rows[0]["estimate"]) == document.treatment_effects[0].estimate
    assert [row["status"] for row in rows] == ["ok", "ok", "failed", "not_applicable"]
    assert not is_number(rows[2]["estimate"])
