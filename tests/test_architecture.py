"""Who may import whom, what starts light, and that the tables and the files agree."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

from causal_orchestrator import agents, estimators

PACKAGE = Path(agents.__file__).parent.parent
NAME = "causal_orchestrator"

# A layer may import itself, the layers named here, and what everybody may use.
EVERYBODY = {"errors", "question", "results", "log"}
ALLOWED = {
    "errors": set(),
    "question": set(),
    "results": set(),
    "log": set(),
    "tracing": {"backends"},
    "numerics": set(),
    "simulate": {"numerics"},
    "problem": {"numerics"},
    "estimators": {"problem", "numerics"},
    "discovery": {"problem", "numerics"},
    "sensitivity": {"problem", "numerics"},
    "figures": {"numerics", "problem", "agents"},  # JobView alone
    "profiling": {"numerics"},
    "web": set(),
    "datasets": {"web"},
    "identification": {"estimators", "numerics", "discovery"},
    "selection": {"problem", "numerics", "estimators"},
    "cautions": {"problem", "numerics", "estimators"},
    "verdict": set(),
    "reporting": {"agents", "figures", "estimators", "sensitivity"},
    "agents": {
        "estimators", "discovery", "sensitivity", "figures", "datasets", "identification", "selection", "verdict",
        "cautions", "reporting", "simulate", "problem", "numerics", "profiling",
    },
    "state": set(),
    "coordinator": {"agents", "state"},
    "models": {"settings", "strict_json"},
    "backends": {"settings", "models", "web"},
    "settings": set(),
    "store": {"state", "backends", "agents"},
    "asking": {"store", "state", "backends", "models", "tracing"},
    "notify": {"store", "state", "backends", "web"},
    "ledger": {"notify", "store", "state", "backends", "agents"},
    "downloads": {"store", "backends", "datasets"},
    "reader": {"downloads", "store", "state", "backends", "agents", "datasets"},
    "attempt": {"store", "state", "backends", "agents", "asking", "reader", "tracing"},
    "runtime": {"notify", "downloads", "coordinator", "agents", "models", "backends", "state", "store", "asking", "attempt", "ledger", "tracing"},
    "worker": {"runtime", "backends", "settings", "agents"},
    "laptop": {"runtime", "backends", "settings", "worker", "state", "agents"},
    "api": {"runtime", "reporting", "backends", "settings", "laptop", "state", "estimators", "problem", "datasets", "cautions"},
    "strict_json": set(),
    "intake": {"tracing", "web", "runtime", "backends", "datasets", "strict_json"},
    "entrypoints": {"intake", "runtime", "backends", "settings", "strict_json", "http"},
    "http": {"intake", "runtime", "backends", "settings", "state", "laptop", "strict_json", "agents"},
    "benchmark": {"api", "estimators", "problem", "simulate"},
    "examples": set(),
    "reproduce": {"api", "state"},
    "cli": {"api", "benchmark", "examples", "reproduce", "runtime", "backends", "settings", "laptop", "state", "estimators", "datasets", "http"},
}  # fmt: skip

# The only files that may name these libraries.
ONLY_IN = {
    "google": ("backends/gcp", "models/gemini"),
    "httpx2": "models/gemini",
    "causallearn": "discovery/",
    "matplotlib": "figures/",
    "nbclient": "reporting/notebook",
}


ROOT = PACKAGE.parent.parent
HOMES = metadata.packages_distributions()
INSTALLED = set(re.findall(r"^([a-z0-9._-]+)==", (ROOT / "requirements" / "run.lock").read_text(), re.MULTILINE))
# Of these alone may a file bear the lack.
METHODS = {
    re.split("[<>=]", requirement)[0]
    for requirement in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"][
        "methods"
    ]
}
# An analysis on the laptop runs none of these; their libraries come with extras.
NOT_THE_LAPTOP = ("backends/gcp", "models/gemini", "entrypoints", "tracing", "http/", "datasets/bigquery")


def modules() -> list[Path]:
    return sorted(p for p in PACKAGE.rglob("*.py") if p.name != "__init__.py" or p.parent != PACKAGE)


def layer(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    """Every absolute module name that the file imports when it runs (not for types alone), wherever in the file."""
    return imported_in(ast.parse(path.read_text(encoding="utf-8")))


def imported_in(tree: ast.Module) -> set[str]:
    names: set[str] = set()
    for_types = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in (node for node in ast.walk(tree) if id(node) not in for_types):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_down(path: Path) -> None:
    own = layer(path)
    assert own in ALLOWED, f"{own} has no place in the layers yet"
    ours = {
        name.split(".")[1]
        for name in imported(path)
        if name.startswith(NAME + ".") and not name.endswith("__version__")
    }
    assert ours - ALLOWED[own] - EVERYBODY - {own} == set()


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_library_is_imported_where_it_belongs(path: Path) -> None:
    relative = str(path.relative_to(PACKAGE))
    for name in imported(path):
        home = ONLY_IN.get(name.split(".")[0])
        assert home is None or relative.startswith(home), f"{relative} imports {name}"


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_library_is_among_what_make_run_installs(path: Path) -> None:
    top = {name.split(".")[0] for name in imported(path)} - set(sys.stdlib_module_names) - {NAME}
    lacking = {name for name in top if not INSTALLED & {home.lower().replace("_", "-") for home in HOMES[name]}}
    optional = METHODS & {name.split(".")[0] for name in bearable(path)}
    assert lacking <= optional or str(path.relative_to(PACKAGE)).startswith(NOT_THE_LAPTOP)


def bearable(path: Path) -> set[str]:
    """Imports whose failure the file itself answers."""
    tries = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Try)]
    answered = [node for node in tries if any(_answers(handler) for handler in node.handlers)]
    return {name for node in answered for name in imported_in(ast.Module(node.body, []))}


def _answers(handler: ast.ExceptHandler) -> bool:
    return handler.type is not None and bool(re.search("ImportError|ModuleNotFoundError", ast.unparse(handler.type)))


def test_methods_never_import_each_other() -> None:
    for table in ("estimators", "sensitivity", "discovery"):
        names = {p.stem for p in (PACKAGE / table).glob("*.py")} - {"__init__"}
        for path in (PACKAGE / table).glob("*.py"):
            others = {name.split(".")[2] for name in imported(path) if name.startswith(f"{NAME}.{table}.")} & names
            public = {other for other in others if _has_public_entry(PACKAGE / table / f"{other}.py")}
            assert path.name == "__init__.py" or public == set(), f"{path.name} imports the method {public}"


def _has_public_entry(path: Path) -> bool:
    """A method has one of these functions; shared pieces of a family have not."""
    entries = {"estimate", "analyse", "search"}
    return any(isinstance(n, ast.FunctionDef) and n.name in entries for n in ast.parse(path.read_text()).body)


def test_every_agent_has_its_file_and_every_file_its_agent() -> None:
    files = {p.stem for p in (PACKAGE / "agents").glob("*.py")} - {"__init__"}
    assert files == set(agents.AGENTS)


def test_every_estimator_has_its_file_and_every_file_its_line() -> None:
    files = {p.stem for p in (PACKAGE / "estimators").glob("*.py")} - {"__init__"}
    assert files == {spec.module for spec in estimators.ESTIMATORS.values()}


def test_every_fact_that_is_required_is_provided() -> None:
    provided = {fact for spec in agents.AGENTS.values() for fact in spec.provides}
    wanted = {fact for spec in agents.AGENTS.values() for fact in (*spec.requires, *spec.uses)}
    assert wanted <= provided


def test_the_coordinator_names_no_agent() -> None:
    text = (PACKAGE / "coordinator.py").read_text(encoding="utf-8")
    named = {name for name in agents.AGENTS if f'"{name}"' in text} - {agents.FIRST}
    assert named == set()


@pytest.mark.parametrize("module", ["cli", "coordinator", "runtime", "estimators", "agents"])
def test_what_must_start_fast_starts_without_the_science(module: str) -> None:
    heavy = "numpy, pandas, scipy, sklearn, statsmodels, matplotlib, pyarrow, networkx, econml, dowhy"
    program = (
        f"import sys, {NAME}.{module}\n"
        f"found = sorted(set('{heavy}'.split(', ')) & set(sys.modules))\n"
        "sys.exit(repr(found) if found else 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
