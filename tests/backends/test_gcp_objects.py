"""What is particular to objects in Cloud Storage: preconditions, damage, generations, signed addresses."""

from __future__ import annotations

import hashlib
import os
import time
from dataclasses import replace
from pathlib import Path

import pytest
import requests
from tests.backends import gcp

from causal_orchestrator.backends.gcp import calling
from causal_orchestrator.backends.gcp.objects import KEPT_SECONDS
from causal_orchestrator.backends.ports import Objects
from causal_orchestrator.errors import AlreadyExists, InputError, NotFound, StorageError
from causal_orchestrator.settings import Settings

pytestmark = pytest.mark.xdist_group("gcp")


@pytest.fixture
def up() -> gcp.Peers:
    return gcp.peers("peers")


@pytest.fixture
def chosen(up: gcp.Peers, tmp_path: Path) -> Settings:
    return gcp.settings(up, tmp_path / "home")


@pytest.fixture
def objects(up: gcp.Peers, chosen: Settings) -> Objects:
    return gcp.connected(up, chosen).objects


@pytest.fixture(autouse=True)
def _no_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calling, "PAUSE_CAP", 0.001)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_an_upload_that_was_done_but_not_answered_is_found_to_be_ours(up: gcp.Peers, objects: Objects) -> None:
    up.storage.faults.append(("POST", 503, True))
    stored = objects.create("t/a", b"one")
    assert objects.local("t/a", stored.generation).read_bytes() == b"one"
    assert stored.sha256 == sha256(b"one")


def test_an_upload_outlives_a_short_failure_and_ends_with_a_long_one(up: gcp.Peers, objects: Objects) -> None:
    up.storage.faults += [("POST", 503, False)] * (calling.TRIES - 1)
    objects.create("t/a", b"one")
    before = up.storage.calls["POST"]
    up.storage.faults += [("POST", 503, False)] * calling.TRIES
    with pytest.raises(StorageError) as caught:
        objects.create("t/b", b"one")
    assert caught.value.code == "STORAGE_UNAVAILABLE"
    assert up.storage.calls["POST"] - before == calling.TRIES
    assert objects.list("t/") == ["t/a"]


def test_a_large_object_is_uploaded_in_pieces(up: gcp.Peers, objects: Objects, tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.write_bytes(os.urandom(9_000_000))  # the client sends more than 8 MiB as a resumable upload
    before = up.storage.calls["PUT"]
    stored = objects.create("t/large", path)
    assert up.storage.calls["PUT"] > before
    assert stored.sha256 == sha256(path.read_bytes())
    with pytest.raises(AlreadyExists):
        objects.create("t/large", b"x" * 9_000_000)


def test_a_file_does_not_replace_what_stands(objects: Objects, tmp_path: Path) -> None:
    stored = objects.create("t/a", b"one")
    path = tmp_path / "file"
    path.write_bytes(b"two")
    with pytest.raises(AlreadyExists):
        objects.create("t/a", path)
    path.write_bytes(b"one")
    assert objects.create("t/a", path) == stored


def test_a_name_that_was_filled_without_our_hash_is_not_ours(up: gcp.Peers, chosen: Settings, objects: Objects) -> None:
    up.storage.create(chosen.bucket, "t/a", b"one", {})
    with pytest.raises(AlreadyExists):
        objects.create("t/a", b"one")


def test_what_does_not_have_its_hash_is_not_handed_out(up: gcp.Peers, chosen: Settings, objects: Objects) -> None:
    bad = up.storage.create(chosen.bucket, "t/a", b"one", {"sha256": sha256(b"two")})
    with pytest.raises(StorageError) as caught:
        objects.open("t/a", bad.number)
    assert caught.value.code == "STORAGE_CORRUPT"
    assert [path for path in (chosen.home / "cache").rglob("*") if path.is_file()] == []


def test_an_object_is_read_by_generation_even_when_another_stands(
    up: gcp.Peers, chosen: Settings, objects: Objects
) -> None:
    first, second = (up.storage.create(chosen.bucket, "t/a", data, {}) for data in (b"one", b"two"))
    assert objects.open("t/a", first.number).read() == b"one"
    assert objects.open("t/a", second.number).read() == b"two"


def test_what_was_downloaded_is_not_asked_for_again_and_forgotten_after_an_hour(
    up: gcp.Peers, chosen: Settings, objects: Objects
) -> None:
    stored, other = objects.create("t/a", b"one"), objects.create("t/b", b"two")
    path = objects.local("t/a", stored.generation)
    before = up.storage.calls["GET"]
    assert objects.local("t/a", stored.generation) == path
    assert up.storage.calls["GET"] == before
    long_ago = time.time() - KEPT_SECONDS - 1
    os.utime(path, (long_ago, long_ago))
    objects.local("t/b", other.generation)
    assert not path.exists()


def test_removing_removes_every_generation_and_what_was_kept_here(
    up: gcp.Peers, chosen: Settings, objects: Objects
) -> None:
    first, second = (up.storage.create(chosen.bucket, "t/a", data, {}) for data in (b"one", b"two"))
    neighbour = objects.create("t/a2", b"three")
    objects.local("t/a", first.number)
    objects.delete("t/a")
    for generation in (first.number, second.number):
        with pytest.raises(NotFound):
            objects.local("t/a", generation)
    assert objects.local("t/a2", neighbour.generation).read_bytes() == b"three"


def test_an_address_gives_this_generation_until_its_time_is_over(
    up: gcp.Peers, chosen: Settings, objects: Objects
) -> None:
    first = up.storage.create(chosen.bucket, "t/ü b.csv", b"one", {})
    up.storage.create(chosen.bucket, "t/ü b.csv", b"two", {})
    address = objects.sign("t/ü b.csv", first.number, seconds=60, filename='r"é\n.csv')
    answer = requests.get(address, timeout=10)
    assert answer.content == b"one"
    assert answer.headers["Content-Disposition"] == 'attachment; filename="r___.csv"'
    for broken in (address[:-4] + "0000", address.replace(str(first.number), "1")):
        assert requests.get(broken, timeout=10).status_code == 403
    over = objects.sign("t/ü b.csv", first.number, seconds=0, filename="a")
    assert requests.get(over, timeout=10).status_code == 400


def test_what_is_put_past_the_service_is_small_enough_comes_in_time_and_replaces_nothing(objects: Objects) -> None:
    signed = objects.sign_upload("t/ü", seconds=60, most=3)
    assert signed is not None
    address, headers = signed
    assert requests.put(address, b"four", headers=headers, timeout=10).status_code == 400
    for left_out in headers:
        fewer = {name: value for name, value in headers.items() if name != left_out}
        assert requests.put(address, b"one", headers=fewer, timeout=10).status_code == 403
    more = {**headers, "x-goog-content-length-range": "0,100"}
    assert requests.put(address, b"four", headers=more, timeout=10).status_code == 403
    assert requests.get(address, timeout=10).status_code == 403
    assert objects.find("t/ü") is None
    assert requests.put(address, b"one", headers=headers, timeout=10).status_code == 200
    assert requests.put(address, b"two", headers=headers, timeout=10).status_code == 412
    found = objects.find("t/ü")
    assert found is not None
    assert objects.local("t/ü", found.generation).read_bytes() == b"one"
    late = objects.sign_upload("t/a", seconds=0, most=3)
    assert late is not None
    assert requests.put(late[0], b"one", headers=late[1], timeout=10).status_code == 400


@pytest.mark.parametrize("kind", ["link", "folder", "pipe"])
def test_only_a_regular_file_becomes_an_object(objects: Objects, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "source"
    {"link": lambda: path.symlink_to(__file__), "folder": path.mkdir, "pipe": lambda: os.mkfifo(path)}[kind]()
    with pytest.raises(InputError):
        objects.create("t/a", path)
    assert objects.list("") == []


def test_a_store_that_says_no_is_told_from_one_that_is_away(up: gcp.Peers, objects: Objects) -> None:
    up.storage.faults.append(("POST", 403, False))
    with pytest.raises(StorageError) as caught:
        objects.create("t/a", b"one")
    assert caught.value.code == "STORAGE_DENIED"


def test_what_people_wrote_on_a_file_is_read_with_it(up: gcp.Peers, chosen: Settings) -> None:
    bucket = f"datasets-of-{chosen.bucket}"
    placed = up.storage.create(bucket, "uploads/a.csv", b"t,y", {"treatment": "t"})
    datasets = gcp.connected(up, replace(chosen, datasets_bucket=bucket)).datasets
    assert datasets is not None
    found = datasets.find("uploads/a.csv")
    assert found is not None
    assert (found.generation, found.size, found.sha256) == (placed.number, 3, "")
    assert found.labels == {"treatment": "t"}
    assert datasets.local("uploads/a.csv", found.generation).read_bytes() == b"t,y"
    assert gcp.connected(up, chosen).datasets is None
