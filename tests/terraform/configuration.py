"""The deployment's description as records: what `terraform/` says, read without Terraform and without a provider."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import hcl2

ROOT = Path(__file__).parents[2] / "terraform"
COMMENT = re.compile(r"^\s*(#|//).*$", re.MULTILINE)
LABELLED = {
    "resource": 2,
    "data": 2,
    "module": 1,
    "variable": 1,
    "output": 1,
    "provider": 1,
    "locals": 0,
    "terraform": 0,
}


@dataclass(frozen=True)
class Block:
    """A block at the top of a file: its kind, its labels, and its body with literals as Python's values.

    An expression stays text, as in ``${var.name}``.
    """

    kind: str
    labels: tuple[str, ...]
    body: Mapping[str, Any]
    file: str


@dataclass(frozen=True)
class Module:
    """One folder of files: its blocks and its text without comments."""

    folder: str
    blocks: tuple[Block, ...]
    text: str

    def named(self, kind: str) -> dict[str, Block]:
        """Return the blocks of a kind by their labels, joined by a dot."""
        return {".".join(block.labels): block for block in self.blocks if block.kind == kind}

    def locals(self) -> dict[str, Any]:
        """Return every local value."""
        return {name: value for block in self.blocks if block.kind == "locals" for name, value in block.body.items()}


@cache
def read(root: Path = ROOT) -> dict[str, Module]:
    """Return the modules by folder, the root's under "."."""
    folders = sorted({path.parent for path in root.rglob("*.tf")})
    return {str(folder.relative_to(root)): _module(folder, root) for folder in folders}


def _module(folder: Path, root: Path) -> Module:
    blocks: list[Block] = []
    texts = []
    for path in sorted(folder.glob("*.tf")):
        text = COMMENT.sub("", path.read_text(encoding="utf-8"))
        texts.append(text)
        for kind, entries in hcl2.loads(text).items():
            blocks += [block for entry in entries for block in _blocks(kind, (), entry, path.name)]
    return Module(str(folder.relative_to(root)), tuple(blocks), "\n".join(texts))


def _blocks(kind: str, labels: tuple[str, ...], body: Any, file: str) -> Iterator[Block]:
    if len(labels) == LABELLED[kind]:
        yield Block(kind, labels, plain(body), file)
        return
    for label, inner in body.items():
        if label != "__is_block__":
            yield from _blocks(kind, (*labels, label.strip('"')), inner, file)


def plain(value: Any) -> Any:
    """Return a parsed value with its quotes taken off; the parser keeps them on keys and literals."""
    if isinstance(value, Mapping):
        return {key.strip('"'): plain(inner) for key, inner in value.items() if key != "__is_block__"}
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    if isinstance(value, str) and len(value) > 1 and value[0] == value[-1] == '"':
        return value[1:-1]
    return value


def used(modules: Mapping[str, Module], kind: str) -> set[str]:
    """Return the types of all resources, or of all data sources."""
    return {block.labels[0] for module in modules.values() for block in module.blocks if block.kind == kind}
