"""What a number depends on: the functions, classes and constants that its function reaches, found by reading sources.

A change elsewhere in the package, to a comment, a docstring or an annotation leaves the fingerprint as it is. What is reached is a
superset of what runs: every name that is mentioned counts, and of a class that is mentioned every method whose name is
mentioned anywhere. Not followed: what a table of modules leads to at run time; a caller names those starts itself.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

PACKAGE = "causal_orchestrator"
FOLLOWED = ("estimators", "numerics", "simulate", "problem", "selection", "cautions")  # the rest carries, words or runs
TABLES = ("ESTIMATORS",)

Place = tuple[str, str]  # module, name; a method is Class.method
Definition = ast.FunctionDef | ast.ClassDef | ast.Assign | ast.AnnAssign


@dataclass(frozen=True)
class Source:
    """A module: what it defines, and what its names stand for elsewhere in the package."""

    module: str
    defined: dict[str, Definition]
    imported: dict[str, Place]


@dataclass(frozen=True)
class Part:
    """A definition as text, and what it mentions: places in the package, attributes, own methods."""

    text: str
    places: tuple[Place, ...]
    attributes: frozenset[str]
    methods: tuple[str, ...] = ()


def fingerprint(shared: Path, starts: Iterable[Place], said: str = "") -> str:
    """Return a hash of everything that the starts reach, and of what else is said of the number."""
    found = reached(shared, starts)
    return hashlib.sha256("\n".join([said, *(found[place].text for place in sorted(found))]).encode()).hexdigest()[:12]


def reached(shared: Path, starts: Iterable[Place]) -> dict[Place, Part]:
    """Return every definition that the starts reach."""
    due, found = list(starts), dict[Place, Part]()
    mentioned, methods = set[str](), set[Place]()
    while due:
        place = due.pop()
        part = None if place in found else _part(shared, *place)
        if part is None:
            continue
        if part.text:
            found[place] = part
        mentioned |= part.attributes
        methods |= {(place[0], f"{place[1]}.{name}") for name in part.methods}
        ready = {at for at in methods if (name := at[1].split(".")[1]) in mentioned or name.startswith("__")}
        methods -= ready
        due += [*part.places, *ready]
    return found


@cache
def _part(shared: Path, module: str, name: str) -> Part | None:
    """Return a definition, or where it comes from; None outside of what is followed."""
    source = read(shared, module)
    if source is None:
        return None
    owner, _, method = name.partition(".")
    node = source.defined.get(owner)
    if node is None:
        return Part("", (source.imported[owner],), frozenset()) if owner in source.imported else None
    own: tuple[ast.stmt, ...] = ()
    if isinstance(node, ast.ClassDef):
        own = tuple(f for f in node.body if isinstance(f, ast.FunctionDef))
        if method:
            node, own = next(f for f in own if isinstance(f, ast.FunctionDef) and f.name == method), ()
        else:
            node = ast.ClassDef(node.name, node.bases, node.keywords, [f for f in node.body if f not in own], node.decorator_list)  # fmt: skip
    places, attributes = _mentions(shared, source, node)
    named = tuple(f.name for f in own if isinstance(f, ast.FunctionDef))
    return Part(ast.dump(node), places, attributes, named)


def _mentions(shared: Path, source: Source, node: ast.AST) -> tuple[tuple[Place, ...], frozenset[str]]:
    """Return the places of the package that a definition names, and every attribute."""
    imported = source.imported | _imports(shared, node)
    places, attributes = set[Place](), set[str]()
    for part in ast.walk(node):
        if isinstance(part, ast.Attribute):
            attributes.add(part.attr)
            if isinstance(part.value, ast.Name) and part.value.id in imported:
                module, name = imported[part.value.id]
                places.add((module if not name else f"{module}.{name}", part.attr))
        elif isinstance(part, ast.Name) and part.id not in TABLES:
            if part.id in source.defined:
                places.add((source.module, part.id))
            elif part.id in imported:
                places.add(imported[part.id])
    return tuple(sorted(places)), frozenset(attributes)


@cache
def read(shared: Path, module: str) -> Source | None:
    """Return a module of the package, None where it is none or not one that numbers depend on."""
    parts = module.split(".")
    if len(parts) < 2 or parts[0] != PACKAGE or parts[1] not in FOLLOWED:
        return None
    path = next((p for p in (shared.joinpath(*parts).with_suffix(".py"), shared.joinpath(*parts, "__init__.py")) if p.exists()), None)  # fmt: skip
    if path is None:
        return None
    tree = _bare(ast.parse(path.read_text(encoding="utf-8")))
    defined: dict[str, Definition] = {}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            defined[node.name] = node
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            defined |= {name.id: node for t in targets for name in ast.walk(t) if isinstance(name, ast.Name)}
    top = ast.Module([node for node in tree.body if not isinstance(node, ast.FunctionDef | ast.ClassDef)], [])
    return Source(module, defined, _imports(shared, top))


def _imports(shared: Path, node: ast.AST) -> dict[str, Place]:
    """Return what `from … import …` of the package brings: (module, name), of a module itself (module, '')."""
    found: dict[str, Place] = {}
    for part in ast.walk(node):
        if isinstance(part, ast.ImportFrom) and (part.module or "").split(".")[0] == PACKAGE:
            for alias in part.names:
                whole = f"{part.module}.{alias.name}"
                is_module = shared.joinpath(*whole.split(".")).with_suffix(".py").exists()
                found[alias.asname or alias.name] = (whole, "") if is_module else (str(part.module), alias.name)
    return found


def _bare(tree: ast.Module) -> ast.Module:
    """Return a module without docstrings and annotations, which no number depends on."""
    for part in ast.walk(tree):
        if isinstance(part, ast.FunctionDef | ast.ClassDef):
            first = part.body[0]
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):  # fmt: skip
                part.body = part.body[1:] or [ast.Pass()]
        if isinstance(part, ast.FunctionDef):
            part.returns = None
        elif isinstance(part, ast.arg):
            part.annotation = None
        elif isinstance(part, ast.AnnAssign):
            part.annotation = ast.Constant(None)
    return tree
