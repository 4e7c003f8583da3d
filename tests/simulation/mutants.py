"""The simulator's power: rules of the design switched off one by one, and which invariant notices.

``python -m tests.simulation.mutants [--only NAME …]`` writes MUTANTS.md. A mutant replaces a piece of a function's
source while it is applied. Where another layer hides it, `masked_by` names the layer and `also` removes it too.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import sys
import textwrap
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .invariants import Violation
from .schedule import good, run
from .world import Options

PACKAGE = "causal_orchestrator"
SEEDS = 250
TABLE = Path(__file__).with_name("MUTANTS.md")


@dataclass(frozen=True)
class Edit:
    """Replace `old` by `new` in the source of ``module.function`` (or in the value of a constant)."""

    place: str
    old: str
    new: str


@dataclass(frozen=True)
class Mutant:
    """A rule switched off; `rule` is the one of architecture.md section 2 (or the invariant's family)."""

    name: str
    rule: str
    edits: tuple[Edit, ...]
    masked_by: str = ""
    also: tuple[Edit, ...] = ()
    options: Options | None = None


def m(
    name: str, rule: str, *edits: tuple[str, str, str], masked_by: str = "", also: Sequence[tuple[str, str, str]] = (),
    options: Options | None = None,
) -> Mutant:  # fmt: skip
    """Return a mutant; `options` narrow the schedules where what it breaks is rare among all of them."""
    return Mutant(name, rule, tuple(Edit(*e) for e in edits), masked_by, tuple(Edit(*e) for e in also), options)


CANCELS = Options(pace=2, cancel=1, fault_minutes=10, jobs=2)
ZOMBIES = Options(stall=0.03, model="first", fault_minutes=60, duplicate=0.3, delay=10)
ERASES = Options(erase=1, pace=2, stall=0.03, fault_minutes=20, jobs=2, duplicate=0.3)
RESUMES = Options(pace=2, resume=1, traits=("no_design",), fault_minutes=10, jobs=2)

FENCE_OFF = ("state._fence", "if not holds(step, attempt):", "if False:")
END_OFF = ("state.end", "if job.state not in LIVE_JOB:", "if False:")
OPEN_GUARD_OFF = ("runtime._end", "if current is None or current.state not in LIVE_JOB:", "if current is None:")

MUTANTS = (
    m("no fence", "4", FENCE_OFF),
    m("fence without attempt number", "4", ("state.holds", " and step.attempt == attempt", "")),
    m("lease ignored", "4", ("state.claim", "lease.until > now", "False")),
    m("lease never renewed", "4", ("state.RENEWAL_SECONDS", "15.0", "1e9")),
    m("lease given for a second", "4", ("state.LEASE", "60", "1")),
    m("claim without a new attempt", "4", ("state.claim", "attempt = step.attempt + 1", "attempt = max(1, step.attempt)")),
    m("claim for a job that has ended", "4", ("attempt._claim", 'or job.state != "open" ', ""), masked_by="void of the steps", also=[("runtime._voided", 'document is None or document.get("state") in ENDED_STEP', 'document is None or "/leases/" not in path')]),
    m("no cap on attempts", "7", ("state.claim", "step.attempt >= MAX_ATTEMPTS", "False")),
    m("the same death for ever", "8", ("state.release", "deaths.count(death) >= MAX_DEATHS", "False")),
    m("no rest after a failure", "9", ("state.release", "not_before=now + rest", "not_before=None")),
    m("rest ignored by claim", "9", ("state.claim", "now < step.not_before", "False")),
    m("terminal states not absorbing", "–", OPEN_GUARD_OFF, masked_by="`end` refuses", also=[END_OFF]),
    m("what runs is not voided", "–", ("runtime._voided", "writes[path] = void(share, now=now).document()", "pass")),
    m("the parts are not voided", "–", ("runtime._below", "return [*parts, *", "return [*")),
    m("stale end", "1", ("runtime._end", "current.steps != last.number + 1 or current.resumed != job.resumed", "False"), options=CANCELS),
    m("the same question twice", "1", ("state.await_input", " or (job.pause is not None and job.pause.step >= pause.step)", ""), masked_by="the look before it", also=[("runtime._pause", "if asked or", "if")]),
    m("an answer forgets the ones before", "–", ("state.take_answer", "{**job.answers, **said}", "said")),
    m("an answer without effect", "–", ("store._resolved", "if job.answers:", "if False:")),
    m("default never taken", "10", ("runtime._wait", "backends.now() >= job.pause.until", "False")),
    m("revision not counted", "1", ("state.touch", "rev=job.rev + 1", "rev=job.rev")),
    m("anything can be resumed", "–", ("runtime.resume", 'if job.state != "failed":', "if False:"), masked_by="`reopen` refuses", also=[("state.reopen", 'if job.state != "failed":', "if False:"), ("runtime._reopen", 'current.state != "failed" or ', "")]),
    m("resumed twice", "2", ("runtime._reopen", 'current.state != "failed" or current.resumed != job.resumed', 'False'), masked_by="`reopen` refuses", also=[("state.reopen", 'if job.state != "failed":', "if False:")], options=RESUMES),
    m("unknown commit taken as success", "2", ("store.commit", "continue", "return {p: backends.documents.get(p) for p in paths}, op")),
    m("unknown commit taken as failure", "2", ("store.commit", "continue", "break"), masked_by="the states and the sweeper"),
    m("operation ID not looked for", "2", ("store.commit", 'document.get("op") == op', "False"), masked_by="each change guards itself", also=[FENCE_OFF]),
    m("hash of an object not checked", "5", ("store.fetch", "hashlib.sha256(data).hexdigest() != pinned.sha256", "False")),
    m("shared object name", "5", ("state.object_name", "{attempt}/", "")),
    m("tenant missing in object names", "5", ("state.object_name", "{job.tenant}/", "")),
    m("wrong generation pinned", "5", ("attempt._put", "generation=stored.generation", "generation=0")),
    m("a zombie may ask", "7", ("attempt._asker", 'if share is None or not holds(attempt.read(share), attempt.share.attempt):', "if False:"), options=ZOMBIES),
    m("ask first, reserve then", "7", ("asking.asker", "answer = model.ask(prompt, schema, timeout=min(MAX_SECONDS, seconds - MARGIN_SECONDS))", "answer = early"), ("asking.asker", "        seconds = _reserve(", "        early = model.ask(prompt, schema, timeout=50.0)\n        seconds = _reserve(")),
    m("no reservation", "7", ("asking.asker", "seconds = _reserve(backends, job_id, prompt, lambda job, found: check(job, found, made), paths)", "seconds = 60.0")),
    m("no cap on calls", "7", ("asking._reserve", "job.calls + 1 > MAX_CALLS or ", "")),
    m("no cap on tokens", "7", ("asking._reserve", " or job.tokens + tokens > job.question.preferences.budget.max_llm_tokens", "")),
    m("call without time", "7", ("asking._reserve", "(job.deadline_at - now).total_seconds() < 2 * MARGIN_SECONDS", "False")),
    m("two coordinators ask", "7", ("runtime._asker", "(current.steps, current.calls) != (job.steps, job.calls + made)", "False")),
    m("reduce before the parts", "6", ("runtime._push", "all(part.state == \"succeeded\" for part in parts)", "True"), masked_by="`_ready` refuses", also=[("attempt._ready", "not step.parts or all(", "True or all(")]),
    m("a failed part is ignored", "6", ("runtime._push", "if broken:", "if False:")),
    m("failure of the science retried", "8", ("attempt._work", "except SCIENCE as exc:", "except () as exc:")),
    m("failure of the world is final", "8", ("attempt._work", "except SCIENCE as exc:", "except CausalError as exc:")),
    m("plan not checked for early looks", "6", ("attempt._accept", "len(joined) == 2", "False")),
    m("outcome open before the freeze", "6", ("reader.JobReader._open", 'if view == "all":', "if False:")),
    m("no sweeper", "10", ("runtime.sweep", 'for document in pages(backends, "jobs", {"done": False}):', "for document in []:")),
    m("sweeper passes by awaiting jobs", "10", ("runtime.sweep", '{"done": False}', '{"done": False, "state": "open"}')),
    m("sweeper does not reclaim", "10", ("runtime.sweep", "_reclaim(backends, job, patience)", "pass")),
    m("overdue steps not sent again", "3", ("runtime._overdue", "return now - (share.not_before or share.queued_at) >= patience", "return False")),
    m("created, not sent", "3", ("runtime._advance", "_send(backends, step)", "pass")),
    m("sent before it is created", "3", ("runtime._advance", "    if _create(", "    _send(backends, step)\n    if _create("), ("runtime._advance", "        _send(backends, step)", "        pass")),
    m("end of a part not told", "3", ("runtime.run_step", "if part is not None:", "if False:")),
    m("second creator overwrites", "2", ("runtime._create", "found[mine] is not None or ", ""), masked_by="the job counts its steps", also=[("runtime._create", " or current.steps != step.number", "")]),
    m("step for a job that has ended", "2", ("runtime._create", ' or current.state != "open"', ""), masked_by="the look before it"),
    m("coordinator writes what wakes it", "–", ("runtime._remind", "        _send(backends, step, shares)", "        commit(backends, [step_path(step.job, step.number)], lambda found: {p: dict(d) for p, d in found.items() if d})")),
    m("racy idempotency key", "2", ("runtime.start_job", "if found[once] is not None:", "if False:")),
    m("key not scoped to the tenant", "5", ("runtime.start_job", "_digest(tenant, principal, key)", "_digest(principal, key)")),
    m("deadline ignored", "10", ("runtime._look", "now >= job.deadline_at", "False")),
    m("erased before cancelled", "–", ("runtime.erase", "    cancel(backends, job_id, tenant=tenant)\n", ""), masked_by="`wipe` refuses a live job", also=[("state.wipe", "if job.state in LIVE_JOB:", "if False:")]),
    m("job document removed first", "10", ("runtime._remove", "for path in [*doomed, *ledger.documents(job_id), job_path(job_id)]:", "for path in [job_path(job_id), *doomed, *ledger.documents(job_id)]:")),
    m("late objects of an erased job stay", "5", ("runtime.collect", 'pages(backends, "receipts", {"settled": False})', "[]"), options=ERASES),
    m("orphans not collected", "5", ("runtime.collect", 'pages(backends, "jobs", {"done": True, "collected": False})', "[]")),
    m("committed files collected", "5", ("runtime._pinned_names", "return {p.name for p in pinned}", "return set()")),
    m("mandatory agents may be skipped", "6", ("coordinator.allowed", "or (spec.final and due)", "")),
    m("any reply is taken", "6", ("coordinator.next_step", "if reply.agent in known:", "if True:")),
    m("asked again without end", "7", ("coordinator.MAX_REPAIRS", "2", "20")),
    m("critique without end", "6", ("coordinator.actions", "or job.iteration > job.question.preferences.max_iterations", "")),
    m("done before the end", "10", ("ledger.record", "    if over:\n        _conclude(", "    if ended:\n        _conclude("), masked_by="the ended steps' job is still live", also=[("ledger._conclude", "current.done or ", "")]),
    m("audit not chained", "12", ("ledger._chain", '"before": before', '"before": START')),
    m("audit written twice", "12", ("ledger._write_up", 'if fact["key"] not in standing', "")),
    m("readers write for erased jobs", "12", ("ledger._write_up", 'current is None or current.state == "erased"', "False"), options=ERASES),
    m("nothing is recorded", "12", ("runtime.coordinate", "ledger.record(backends, job_id, agents=agents)", "pass")),
)  # fmt: skip


@contextmanager
def applied(edits: Sequence[Edit]) -> Iterator[None]:
    """Apply the edits everywhere that the edited names are known, and undo them."""
    sources: dict[str, list[Edit]] = {}
    for edit in edits:
        sources.setdefault(edit.place, []).append(edit)
    good.cache_clear()
    with ExitStack() as undo:
        undo.callback(good.cache_clear)
        for place, changes in sources.items():
            _apply(place, changes, undo)
        yield


def _apply(place: str, changes: Sequence[Edit], undo: ExitStack) -> None:
    module_name, *names = place.split(".")
    module = importlib.import_module(f"{PACKAGE}.{module_name}")
    owner: Any = module
    for name in names[:-1]:
        owner = getattr(owner, name)
    old = vars(owner)[names[-1]]
    new = _changed(module, place, old, changes)
    owners = (
        [owner] if owner is not module else [mod for key, mod in list(sys.modules.items()) if key.startswith(PACKAGE)]
    )
    for holder in owners:
        if vars(holder).get(names[-1]) is old or (not callable(old) and vars(holder).get(names[-1]) == old):
            undo.callback(setattr, holder, names[-1], old)
            setattr(holder, names[-1], new)


def _changed(module: Any, place: str, old: Any, changes: Sequence[Edit]) -> Any:
    """Return the constant or the function with its source edited."""
    if not callable(old):
        line = next(
            line for line in inspect.getsource(module).splitlines() if line.startswith(place.split(".")[-1] + " = ")
        )
        text = line.split(" = ", 1)[1]
    else:
        inner = inspect.unwrap(old)
        text = textwrap.dedent(inspect.getsource(inner))
    for change in changes:
        if change.old not in text:
            raise LookupError(f"{place} holds no {change.old!r}")
        text = text.replace(change.old, change.new)
    space: dict[str, Any] = {}
    if not callable(old):
        return eval(text, vars(module))  # noqa: S307 (our own source, edited)
    exec(compile(text, f"<mutant of {place}>", "exec"), vars(module), space)  # noqa: S102 (our own source, edited)
    return space[place.split(".")[-1]]


def first_kill(edits: Sequence[Edit], seeds: range, options: Options | None = None) -> tuple[int, str] | None:
    """Return the first seed at which an invariant notices, and which one."""
    with applied(edits):
        for seed in seeds:
            try:
                run(seed, options=options)
            except Violation as exc:
                return seed, exc.name
            except Exception as exc:
                return seed, type(exc).__name__
    return None


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.mutants", description=__doc__)
    parser.add_argument("--only", nargs="*", default=[], help="words of the mutants' names")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    arguments = parser.parse_args()
    chosen = [mutant for mutant in MUTANTS if not arguments.only or any(word in mutant.name for word in arguments.only)]
    rows = _known()
    for mutant in chosen:
        started = time.monotonic()
        rows[mutant.name] = _row(mutant, range(arguments.seeds))
        print(rows[mutant.name], f"{time.monotonic() - started:.1f} s", flush=True)
        _write(rows)
    return 0


def _row(mutant: Mutant, seeds: range) -> str:
    """Return the mutant's line: alone, and if it survives so, without what masks it."""
    alone = first_kill(mutant.edits, seeds, mutant.options)
    bare = first_kill((*mutant.edits, *mutant.also), seeds, mutant.options) if mutant.also and alone is None else None
    told = "" if alone is not None or not mutant.also else _say(bare)
    return f"| {mutant.name} | {mutant.rule} | {_say(alone)} | {mutant.masked_by} | {told} |"


def _say(kill: tuple[int, str] | None) -> str:
    return "survives" if kill is None else f"{kill[1]}, seed {kill[0]}"


def _known() -> dict[str, str]:
    """Return the lines of the table as it stands, by mutant."""
    if not TABLE.exists():
        return {}
    lines = [line for line in TABLE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    return {line.split(" | ")[0].removeprefix("| "): line for line in lines[1:]}


def _write(rows: dict[str, str]) -> None:
    kept = [rows[mutant.name] for mutant in MUTANTS if mutant.name in rows]
    killed = sum(", seed " in row for row in kept)
    head = [
        "# Planted mutants", "",
        f"Written by `python -m tests.simulation.mutants`: {killed} of {len(kept)} killed.",
        "A mutant that survives alone is hidden by another layer, which the table names; the last column says what",
        "happens once that layer is removed too.", "",
        "| mutant | rule | killed by | masked by | without the mask |", "|---|---|---|---|---|",
    ]  # fmt: skip
    TABLE.write_text("\n".join([*head, *kept, ""]), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
