"""Every resource, attribute and block is one that the provider knows, and what it must have it has.

`schema/google.json` is what the provider publishes of the resources that are used here; `schema/extract.py` made it.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.terraform.configuration import Block, read

MODULES = read()
SCHEMA = json.loads((Path(__file__).parent / "schema" / "google.json").read_text(encoding="utf-8"))
META = {"for_each", "count", "depends_on", "lifecycle", "provider"}
BLOCKS = [
    pytest.param(block, id=f"{module.folder}:{'.'.join(block.labels)}")
    for module in MODULES.values()
    for block in module.blocks
    if block.kind in ("resource", "data")
]
# Type of an attribute → what a literal of it may be.
FITS: Mapping[str, Callable[[Any], bool]] = {
    "string": lambda value: isinstance(value, str | int | float),
    "number": lambda value: isinstance(value, int | float) or re.fullmatch(r"[\d.]+", str(value)) is not None,
    "bool": lambda value: isinstance(value, bool),
    "list": lambda value: isinstance(value, list),
    "map": lambda value: isinstance(value, Mapping),
}


def faults(block: Block, schema: Mapping[str, Any] = SCHEMA) -> list[str]:
    """Return what the provider would refuse in a resource."""
    known = schema[block.kind].get(block.labels[0])
    if known is None:
        return [f"there is no {block.labels[0]}"]
    return list(_faults({key: value for key, value in block.body.items() if key not in META}, known, block.labels[0]))


def _faults(body: Mapping[str, Any], known: Mapping[str, Any], where: str) -> Iterator[str]:
    given = {
        key: value if isinstance(value, list) else [value] for key, value in body.items() if key in known["blocks"]
    }
    for dynamic in body.get("dynamic", ()):
        for name, block in dynamic.items():
            given.setdefault(name, []).extend(block["content"])
    for key, value in body.items():
        if key in known["attributes"]:
            expression = isinstance(value, str) and value.startswith("${")
            if not expression and not FITS[known["attributes"][key]["type"]](value):
                yield f"{where}.{key} is a {known['attributes'][key]['type']}"
        elif key not in given and key != "dynamic":
            yield f"{where} has no {key}"
    for kind in ("attributes", "blocks"):
        for key, entry in known[kind].items():
            if entry["required"] and key not in body and key not in given:
                yield f"{where} needs {key}"
    for key, inners in given.items():
        if key not in known["blocks"]:
            yield f"{where} has no block {key}"
            continue
        if len(inners) > 1 and not known["blocks"][key]["many"]:
            yield f"{where} may have one {key}"
        for inner in inners:
            yield from _faults(inner, known["blocks"][key], f"{where}.{key}")


@pytest.mark.parametrize("block", BLOCKS)
def test_the_provider_would_take_it(block: Block) -> None:
    assert faults(block) == []


def test_what_is_read_of_a_resource_is_there_to_be_read() -> None:
    reference = re.compile(r"(?<![\w.\"/-])(data\.)?(google_\w+)\.\w+(?:\[[^\]]*\])?\.(\w+)")
    found = {match for module in MODULES.values() for match in reference.findall(module.text)}
    for data, kind, attribute in found:
        known = SCHEMA["data" if data else "resource"][kind]
        assert attribute in {*known["read"], *known["attributes"], *known["blocks"]}, f"{kind}.{attribute}"
    assert len(found) > 20


@pytest.mark.parametrize(
    ("spoil", "fault"),
    [
        (lambda body: body.update(ack_deadline="60"), "has no ack_deadline"),
        (lambda body: body.pop("topic"), "needs topic"),
        (lambda body: body.update(labels="none"), "labels is a map"),
        (lambda body: body["push_config"][0].pop("push_endpoint"), "needs push_endpoint"),
        (lambda body: body["push_config"][0].update(oidc=[{}]), "has no oidc"),
        (lambda body: body["push_config"].append(body["push_config"][0]), "may have one push_config"),
        (lambda body: body.update(dynamic=[{"retries": {"content": [{}]}}]), "has no block retries"),
    ],
)
def test_a_mistake_is_found(spoil: Callable[[dict[str, Any]], object], fault: str) -> None:
    block = MODULES["modules/topic"].named("resource")["google_pubsub_subscription.this"]
    body = copy.deepcopy(dict(block.body))
    spoil(body)
    (found,) = faults(Block("resource", block.labels, body, block.file))
    assert fault in found


def test_a_resource_that_does_not_exist_is_found() -> None:
    assert faults(Block("resource", ("google_pubsub_queue", "this"), {}, "")) == ["there is no google_pubsub_queue"]
