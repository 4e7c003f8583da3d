"""IN-9, SEC-2, SEC-9: what was fetched is kept by its content, is one tenant's alone, and goes with its job."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.datasets.web_peers import Site, gives, served

from causal_orchestrator import downloads, runtime
from causal_orchestrator.backends import connect
from causal_orchestrator.backends.ports import Backends
from causal_orchestrator.errors import InputError
from causal_orchestrator.question import Question
from causal_orchestrator.settings import Settings

ADDRESS = "gs://studies/a.csv"


@dataclass
class OneObject:
    """A cloud that holds one object; `fetched` are the versions that were asked for."""

    data: bytes = b"t,y\n1,2\n"
    number: int = 1
    fetched: list[str] = field(default_factory=list)

    def version(self, address: str) -> str:
        return str(self.number)

    def fetch(self, address: str, version: str, target: Path, *, most: int, rows: int) -> None:
        self.fetched.append(version)
        target.write_bytes(self.data)


@pytest.fixture
def cloud() -> OneObject:
    return OneObject()


@pytest.fixture
def backends(tmp_path: Path, cloud: OneObject) -> Backends:
    return dataclasses.replace(connect(Settings(home=tmp_path / "home", environ={})), cloud=cloud)


def bring(backends: Backends, folder: Path, tenant: str = "acme", **source: object) -> bytes:
    place = folder / f"run-{len(list(folder.iterdir()))}"
    place.mkdir()
    found = downloads.bring(backends, {"kind": "uri", "uri": ADDRESS, **source}, place, tenant=tenant)
    assert (found.parent, found.name) == (place, "a.csv")
    return found.read_bytes()


def test_the_same_version_is_fetched_once_and_a_new_one_again(
    backends: Backends, cloud: OneObject, tmp_path: Path
) -> None:
    assert [bring(backends, tmp_path) for _ in range(3)] == [cloud.data] * 3
    cloud.data, cloud.number = b"t,y\n3,4\n", 2
    assert bring(backends, tmp_path) == cloud.data
    assert cloud.fetched == ["1", "2"]
    assert len(backends.objects.list("acme/downloads/")) == 2


def test_what_one_tenant_fetched_is_not_anothers(backends: Backends, cloud: OneObject, tmp_path: Path) -> None:
    bring(backends, tmp_path)
    bring(backends, tmp_path, tenant="other")
    assert cloud.fetched == ["1", "1"]


@pytest.mark.parametrize(
    ("rules", "allowed"),
    [
        (None, True), ({}, False), ({"other": ("gs://studies",)}, False), ({"acme": ("gs://studies",)}, True),
        ({"*": ("gs://studies",)}, True), ({"acme": ("gs://stud", "gs://studies/b", "https://")}, False),
        ({"acme": ("gs://studies/a.csv",)}, True), ({"acme": ("gs://studies/a",)}, False),
    ],
)  # fmt: skip
def test_a_tenant_reads_the_buckets_that_are_its_own(
    rules: dict[str, tuple[str, ...]] | None, allowed: bool, backends: Backends, cloud: OneObject, tmp_path: Path
) -> None:
    """The confused deputy: this process can read the bucket; whether the caller may is another question."""
    bound = dataclasses.replace(backends, sources=rules)
    if allowed:
        assert bring(bound, tmp_path) == cloud.data
    else:
        with pytest.raises(InputError) as caught:
            bring(bound, tmp_path)
        assert caught.value.code == "URL_NOT_ALLOWED"
        assert cloud.fetched == []


def test_what_is_not_what_the_request_describes_is_not_kept(backends: Backends, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        bring(backends, tmp_path, size=3)
    assert caught.value.code == "CHECKSUM_MISMATCH"
    assert backends.objects.list("acme/downloads/") == []


def test_erasing_a_job_erases_what_it_fetched(backends: Backends, cloud: OneObject, tmp_path: Path) -> None:
    source = {"kind": "uri", "uri": ADDRESS}
    job = runtime.start_job(backends, Question(treatment="t", outcome="y"), source, tenant="acme")
    bring(backends, tmp_path)
    runtime.erase(backends, job, tenant="acme")
    assert backends.objects.list("acme/") == []
    assert backends.documents.list("downloads") == []
    assert bring(backends, tmp_path) == cloud.data


def test_kept_bytes_that_are_gone_are_fetched_again(backends: Backends, cloud: OneObject, tmp_path: Path) -> None:
    bring(backends, tmp_path)
    for name in backends.objects.list("acme/downloads/"):
        backends.objects.delete(name)
    assert bring(backends, tmp_path) == cloud.data
    assert cloud.fetched == ["1", "1"]


def test_a_job_reads_its_table_from_the_public_web(backends: Backends, tmp_path: Path) -> None:
    """From the address to the snapshot, by the real step, over TLS on loopback."""
    table = b"t,y\n" + b"".join(b"%d,%d.5\n" % (k % 2, k) for k in range(40))
    with served(Site({"/study.csv": gives(table, ETag='"1"')}), tmp_path) as site:
        outside = dataclasses.replace(backends, outside=site.web())
        source = {"kind": "uri", "uri": "https://data.example.org/study.csv"}
        job = runtime.start_job(outside, Question(treatment="t", outcome="y"), source, tenant="acme")
        runtime.run_step(outside, job, 0)
        _, steps = runtime.get_job(outside, job, tenant="acme")
    assert steps[0].state == "succeeded", steps[0].error
    assert steps[0].result is not None
    assert (steps[0].result["source_name"], steps[0].result["n_rows"]) == ("study.csv", 40)
    assert len(backends.objects.list("acme/downloads/")) == 1
