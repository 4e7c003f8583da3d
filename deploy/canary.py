"""Give a new release 10, 25, 50 and 100 % of the traffic, and take it all back if it errs more or answers more slowly.

``canary.py pin`` (before a deployment) gives all traffic to the revisions that have it now, so that new ones start with
none, and notes them. ``canary.py advance`` (after it) moves traffic to the new revisions step by step. It needs nothing
but ``gcloud`` and the standard library; what it decides, `decide` decides from numbers alone.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

SHARES = (10, 25, 50, 100)
MIN_REQUESTS = 20  # below this a rate or a percentile says nothing
MIN_ERRORS = 3  # one error, delivered again, is no rate
ERROR_RATE = 0.05  # as in the alert
SLOWER = 1.5
SLACK_SECONDS = 0.5  # half of a short answer more is noise
LATENCY_SECONDS = 30.0  # as in the alert; for a function that had no revision before
LOOK_SECONDS = 60.0
PATIENCE_SECONDS = 1800.0

Choice = Literal["go", "hold", "rollback"]
Series = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Numbers:
    """What a revision did in a span of time: requests, how many failed on its side, and 95 % of its seconds."""

    requests: int = 0
    errors: int = 0
    p95: float | None = None

    @property
    def rate(self) -> float:
        """Errors per request."""
        return self.errors / self.requests if self.requests else 0.0


@dataclass(frozen=True)
class Verdict:
    """What to do, and why."""

    choice: Choice
    reason: str


def decide(new: Numbers, old: Numbers, *, waited: float, patience: float = PATIENCE_SECONDS) -> Verdict:
    """Judge a new revision against the one that it replaces, over the same `waited` seconds.

    It is rolled back if it errs on more than 5 % of its requests and twice as often as the old one, or is half again as
    slow. Too few requests are waited for; if they do not come, one error is one too many.
    """
    if new.errors >= MIN_ERRORS and new.rate > max(ERROR_RATE, 2 * old.rate):
        return Verdict("rollback", f"{new.errors} of {new.requests} requests failed ({old.rate:.1%} before)")
    limit = LATENCY_SECONDS if old.p95 is None else max(SLOWER * old.p95, old.p95 + SLACK_SECONDS)
    if new.requests >= MIN_REQUESTS and new.p95 is not None and new.p95 > limit:
        return Verdict("rollback", f"95 % of answers take up to {new.p95:.1f} s, more than {limit:.1f} s")
    if new.requests >= MIN_REQUESTS:
        return Verdict("go", f"{new.requests} requests, {new.errors} failed")
    if waited < patience:
        return Verdict("hold", f"{new.requests} requests are too few to tell")
    if new.errors:
        return Verdict("rollback", f"{new.errors} of the only {new.requests} requests failed")
    return Verdict("go", f"no more than {new.requests} requests came, and none failed")


def together(verdicts: Mapping[str, Verdict]) -> Verdict:
    """Return the worst of the functions' verdicts: they are released together and go back together."""
    for choice in ("rollback", "hold"):
        found = [f"{name}: {verdict.reason}" for name, verdict in sorted(verdicts.items()) if verdict.choice == choice]
        if found:
            return Verdict(choice, "; ".join(found))
    return Verdict("go", f"{len(verdicts)} functions are as good as before")


def numbers(counts: Series, latencies: Series) -> Numbers:
    """Read the answers of Cloud Monitoring: requests by class of answer, and 95 % of the milliseconds."""
    by_class: dict[str, int] = {}
    for series in counts:
        name = str(series.get("metric", {}).get("labels", {}).get("response_code_class", ""))
        by_class[name] = by_class.get(name, 0) + sum(int(point["value"]["int64Value"]) for point in series["points"])
    slowest = [float(point["value"]["doubleValue"]) / 1000 for series in latencies for point in series["points"]]
    return Numbers(sum(by_class.values()), by_class.get("5xx", 0), max(slowest, default=None))


# --- the cloud ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cloud:
    """One project's services in one region; `run` calls gcloud and returns what it says."""

    project: str
    region: str
    run: Callable[[Sequence[str]], str]
    get: Callable[[str, str], Any]

    def services(self) -> set[str]:
        """Return the services that are there."""
        where = [f"--project={self.project}", f"--region={self.region}", "--format=json"]
        return {entry["metadata"]["name"] for entry in json.loads(self.run(["run", "services", "list", *where]))}

    def revisions(self, service: str) -> tuple[str | None, str | None]:
        """Return the revision that has the most traffic and the one that was made last."""
        where = [f"--project={self.project}", f"--region={self.region}", "--format=json"]
        status = json.loads(self.run(["run", "services", "describe", service, *where]))["status"]
        shares = {t["revisionName"]: t.get("percent", 0) for t in status.get("traffic", ()) if "revisionName" in t}
        return max(shares, key=lambda name: shares[name], default=None), status.get("latestReadyRevisionName")

    def shift(self, service: str, shares: Mapping[str, int]) -> None:
        """Give revisions their shares of the traffic."""
        told = ",".join(f"{revision}={share}" for revision, share in shares.items() if share)
        where = [f"--project={self.project}", f"--region={self.region}", "--quiet"]
        self.run(["run", "services", "update-traffic", service, f"--to-revisions={told}", *where])

    def measure(self, revision: str, since: datetime, until: datetime) -> Numbers:
        """Return what a revision did between two moments."""
        token = self.run(["auth", "print-access-token"]).strip()
        seconds = max(60, round((until - since).total_seconds()))

        def ask(metric: str, reducer: str, *groups: str) -> Series:
            chosen = f'metric.type="run.googleapis.com/{metric}" AND resource.labels.revision_name="{revision}"'
            query = {
                "filter": chosen, "interval.startTime": since.isoformat(), "interval.endTime": until.isoformat(),
                "aggregation.alignmentPeriod": f"{seconds}s", "aggregation.perSeriesAligner": "ALIGN_DELTA",
                "aggregation.crossSeriesReducer": reducer, "aggregation.groupByFields": list(groups),
            }  # fmt: skip
            address = f"https://monitoring.googleapis.com/v3/projects/{self.project}/timeSeries?"
            found: Series = self.get(address + urllib.parse.urlencode(query, doseq=True), token).get("timeSeries", ())
            return found

        counts = ask("request_count", "REDUCE_SUM", "metric.label.response_code_class")
        return numbers(counts, ask("request_latencies", "REDUCE_PERCENTILE_95"))


def pin(cloud: Cloud, services: Sequence[str]) -> dict[str, str]:
    """Hold the traffic where it is and return each service's revision; a service that is not there yet has none."""
    held, there = {}, cloud.services()
    for service in [name for name in services if name in there]:
        serving, latest = cloud.revisions(service)
        revision = serving or latest
        if revision is not None:
            cloud.shift(service, {revision: 100})
            held[service] = revision
    return held


def advance(
    cloud: Cloud, held: Mapping[str, str], *, now: Callable[[], datetime], sleep: Callable[[float], None],
    tell: Callable[[str], object],
) -> bool:  # fmt: skip
    """Move the traffic to the new revisions step by step; say whether they got it all."""
    found = {service: (old, cloud.revisions(service)[1] or old) for service, old in held.items()}
    changed = {service: pair for service, pair in found.items() if pair[0] != pair[1]}
    for share in SHARES if changed else ():
        for service, (old, new) in changed.items():
            cloud.shift(service, {new: share, old: 100 - share})
        verdict = _watch(cloud, changed, now=now, sleep=sleep) if share < 100 else Verdict("go", "all of it")
        tell(f"{share} %: {verdict.choice}: {verdict.reason}")
        if verdict.choice == "rollback":
            for service, (old, _) in changed.items():
                cloud.shift(service, {old: 100})
            return False
    return True


def _watch(
    cloud: Cloud, changed: Mapping[str, tuple[str, str]], *, now: Callable[[], datetime], sleep: Callable[[float], None]
) -> Verdict:
    """Look at the numbers since this moment until they allow a verdict."""
    since = now()
    while True:
        sleep(LOOK_SECONDS)
        until = now()
        waited = (until - since).total_seconds()
        verdict = together({
            service: decide(cloud.measure(new, since, until), cloud.measure(old, since, until), waited=waited)
            for service, (old, new) in changed.items()
        })  # fmt: skip
        if verdict.choice != "hold":
            return verdict


def _gcloud(arguments: Sequence[str]) -> str:
    return subprocess.run(["gcloud", *arguments], capture_output=True, text=True, check=True, timeout=300).stdout  # noqa: S603, S607


def _get(address: str, token: str) -> Any:
    request = urllib.request.Request(address, headers={"Authorization": f"Bearer {token}"})  # noqa: S310  https above
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
        return json.load(answer)


def main(arguments: Sequence[str] | None = None) -> int:
    """Pin or advance; the notes of `pin` lie in a file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("action", choices=("pin", "advance"))
    parser.add_argument("--project", required=True)
    parser.add_argument("--region", required=True)
    parser.add_argument("--services", nargs="*", default=[])
    parser.add_argument("--notes", type=Path, default=Path("pinned.json"))
    given = parser.parse_args(arguments)
    cloud = Cloud(given.project, given.region, _gcloud, _get)
    if given.action == "pin":
        given.notes.write_text(json.dumps(pin(cloud, given.services)), encoding="utf-8")
        return 0
    held = json.loads(given.notes.read_text(encoding="utf-8"))
    good = advance(
        cloud, held, now=lambda: datetime.now(UTC), sleep=time.sleep, tell=lambda text: sys.stdout.write(text + "\n")
    )  # fmt: skip
    return 0 if good else 1


if __name__ == "__main__":
    raise SystemExit(main())
