"""A release that errs or slows down is taken back, by numbers alone; one that does not gets all the traffic."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from deploy.canary import (
    MIN_REQUESTS,
    PATIENCE_SECONDS,
    Cloud,
    Numbers,
    Verdict,
    advance,
    decide,
    numbers,
    pin,
    together,
)

GOOD = Numbers(200, 1, 0.8)


@pytest.mark.parametrize(
    ("new", "old", "waited", "choice"),
    [
        pytest.param(Numbers(200, 1, 0.9), GOOD, 60, "go", id="as good as before"),
        pytest.param(Numbers(200, 30, 0.9), GOOD, 60, "rollback", id="errs"),
        pytest.param(Numbers(200, 30, 0.9), Numbers(200, 28, 0.9), 60, "go", id="errs no more than before"),
        pytest.param(Numbers(200, 9, 0.9), GOOD, 60, "go", id="below the alert's rate"),
        pytest.param(Numbers(2, 2, 0.9), GOOD, 60, "hold", id="two errors are no rate yet"),
        pytest.param(Numbers(3, 3, 0.9), GOOD, 60, "rollback", id="nothing but errors"),
        pytest.param(Numbers(200, 0, 1.5), GOOD, 60, "rollback", id="slower"),
        pytest.param(Numbers(200, 0, 0.2), Numbers(200, 0, 0.05), 60, "go", id="slower by what nobody feels"),
        pytest.param(Numbers(200, 0, 29.0), Numbers(), 60, "go", id="new, within the alert's limit"),
        pytest.param(Numbers(200, 0, 31.0), Numbers(), 60, "rollback", id="new, beyond the alert's limit"),
        pytest.param(Numbers(MIN_REQUESTS - 1, 0, 9.9), GOOD, 60, "hold", id="too few to tell"),
        pytest.param(Numbers(5, 0, 9.9), GOOD, PATIENCE_SECONDS, "go", id="few came and none failed"),
        pytest.param(Numbers(5, 1, 0.1), GOOD, PATIENCE_SECONDS, "rollback", id="few came and one failed"),
        pytest.param(Numbers(), GOOD, PATIENCE_SECONDS, "go", id="nobody came"),
    ],
)
def test_a_revision_is_judged_by_its_numbers(new: Numbers, old: Numbers, waited: float, choice: str) -> None:
    assert decide(new, old, waited=waited).choice == choice


def test_functions_go_together_and_go_back_together() -> None:
    go, hold, back = Verdict("go", ""), Verdict("hold", "few"), Verdict("rollback", "errs")
    assert together({"a": go, "b": go}).choice == "go"
    assert together({"a": go, "b": hold}).choice == "hold"
    assert together({"a": hold, "b": back}) == Verdict("rollback", "b: errs")


def test_the_answers_of_monitoring_are_read() -> None:
    counts = [
        {"metric": {"labels": {"response_code_class": "2xx"}}, "points": [{"value": {"int64Value": "40"}}]},
        {"metric": {"labels": {"response_code_class": "5xx"}}, "points": [{"value": {"int64Value": "2"}}]},
    ]
    latencies = [{"metric": {}, "points": [{"value": {"doubleValue": 1250.0}}]}]
    assert numbers(counts, latencies) == Numbers(42, 2, 1.25)
    assert numbers([], []) == Numbers(0, 0, None)


class Platform:
    """Two services, of which one got a new revision; every new one answers as `errors` and `seconds` say."""

    def __init__(self, errors: int = 0, milliseconds: float = 100.0) -> None:
        self.errors, self.milliseconds, self.away = errors, milliseconds, False
        self.traffic = {"api": {"api-1": 100}, "eda": {"eda-1": 100}}
        self.latest = {"api": "api-2", "eda": "eda-1"}
        self.history: list[tuple[str, dict[str, int]]] = []
        self.time = datetime(2026, 1, 1, tzinfo=UTC)

    def run(self, arguments: Sequence[str]) -> str:
        if arguments[:2] == ["auth", "print-access-token"]:
            return "token\n"
        if self.away:
            raise subprocess.CalledProcessError(1, "gcloud")
        if arguments[2] == "list":
            return json.dumps([{"metadata": {"name": name}} for name in self.traffic])
        service = arguments[3]
        if arguments[2] == "describe":
            traffic = [{"revisionName": name, "percent": share} for name, share in self.traffic[service].items()]
            return json.dumps({"status": {"traffic": traffic, "latestReadyRevisionName": self.latest[service]}})
        (told,) = [part.removeprefix("--to-revisions=") for part in arguments if part.startswith("--to-revisions=")]
        shares = {name: int(share) for name, share in (pair.split("=") for pair in told.split(","))}
        assert sum(shares.values()) == 100
        self.traffic[service] = shares
        self.history.append((service, shares))
        return ""

    def get(self, address: str, token: str) -> Any:
        assert token == self.run(["auth", "print-access-token"]).strip()
        (chosen,) = parse_qs(urlsplit(address).query)["filter"]
        new = '"api-2"' in chosen
        if "request_latencies" in chosen:
            value = {"doubleValue": self.milliseconds if new else 100.0}
            return {"timeSeries": [{"points": [{"value": value}]}]}
        failed = {"metric": {"labels": {"response_code_class": "5xx"}}, "points": [{"value": {"int64Value": str(self.errors if new else 0)}}]}  # fmt: skip
        fine = {"metric": {"labels": {"response_code_class": "2xx"}}, "points": [{"value": {"int64Value": "100"}}]}
        return {"timeSeries": [failed, fine]}

    def sleep(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)

    def release(self) -> bool:
        cloud = Cloud("p", "r", self.run, self.get)
        held = pin(cloud, ["api", "eda", "new"])
        assert held == {"api": "api-1", "eda": "eda-1"}
        self.history.clear()
        return advance(cloud, held, now=lambda: self.time, sleep=self.sleep, tell=lambda text: None)


def test_a_good_release_gets_the_traffic_step_by_step() -> None:
    platform = Platform()
    assert platform.release()
    assert [shares["api-2"] for _, shares in platform.history] == [10, 25, 50, 100]
    assert {service for service, _ in platform.history} == {"api"}
    assert platform.traffic["api"] == {"api-2": 100}


@pytest.mark.parametrize("platform", [Platform(errors=50), Platform(milliseconds=5000.0)], ids=["errs", "slow"])
def test_a_bad_release_goes_back_at_the_first_step(platform: Platform) -> None:
    assert not platform.release()
    assert platform.history == [("api", {"api-2": 10, "api-1": 90}), ("api", {"api-1": 100})]


def test_a_platform_that_does_not_answer_is_not_taken_for_one_without_services() -> None:
    platform = Platform()
    platform.away = True
    with pytest.raises(subprocess.CalledProcessError):
        pin(Cloud("p", "r", platform.run, platform.get), ["api"])


def test_nothing_new_moves_nothing() -> None:
    platform = Platform()
    platform.latest["api"] = "api-1"
    assert platform.release()
    assert platform.history == []
