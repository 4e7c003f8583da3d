"""The backends in memory keep the contract that every store keeps, as far as the simulation leans on it."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from tests.backends.test_contract import (  # noqa: F401
    shelf,
    test_a_change_may_write_only_what_it_names,
    test_a_list_is_narrowed_by_equal_fields,
    test_a_list_is_of_one_collection_by_id,
    test_a_missing_document_is_none,
    test_an_error_in_the_change_leaves_everything_as_it_was,
    test_names_are_listed_by_prefix,
    test_newest_first_leaves_out_what_has_no_time,
    test_pages_put_together_are_the_whole,
    test_update_returns_what_stands_after_it,
    test_what_no_store_can_hold_is_refused_and_nothing_is_written,
)

from .memory import MemoryDocuments, MemoryObjects


@dataclass
class _Backends:
    objects: MemoryObjects


@dataclass
class _World:
    backends: _Backends


@pytest.fixture
def documents() -> MemoryDocuments:
    return MemoryDocuments()


@pytest.fixture
def world() -> _World:
    return _World(_Backends(MemoryObjects()))
