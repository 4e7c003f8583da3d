"""Check a given causal graph and learn one over covariates and treatment (AG-4, DISC-1, DISC-2).

Before the freeze the outcome stays out of sight: a learned graph has no outcome in it. Nothing here fails a job.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, cast

import numpy as np

from causal_orchestrator import discovery
from causal_orchestrator.agents import Ask, JobView, Output, Reader, Turn
from causal_orchestrator.discovery import columns, ensemble
from causal_orchestrator.discovery.knowledge import Knowledge
from causal_orchestrator.errors import InputError
from causal_orchestrator.identification import given, graph, placebo
from causal_orchestrator.question import Question, shown
from causal_orchestrator.results import Edge, Exploration, Gate, Graph, Note, Profile, Snapshot

MAX_COLUMNS = 30
# An edge that a middling ensemble may add to a given graph.
AUGMENTING = 0.9
MIN_ROWS = 50

_NO_CAUSES = frozenset(
    {"age", "birth", "birthyear", "black", "born", "ethnicity", "female", "gender", "hisp", "hispanic", "male", "race",
     "sex", "white", "yob"}
)  # fmt: skip
_BEFORE = frozenset({"baseline", "before", "lag", "lagged", "pre", "previous", "prior"})


def run(job: JobView, step: Turn, read: Reader, ask: Ask) -> Output:
    """Return the graph: the given one (checked), the learned one, or both together, with the gate."""
    profile = job.get("data_profiler", Profile)
    if profile is None or profile.question.treatment is None or profile.question.outcome is None:
        return Output(_rejected("none", "treatment and outcome are not settled"))
    question = profile.question
    snapshot = job.get("dataset_fetcher", Snapshot)
    written: Graph | None = None
    if question.causal_graph:
        written = _checked(question, snapshot)
    if written is not None and not question.preferences.auto_discover:
        return Output(written)
    learned = _learned(_Scene(profile, snapshot, job.get("eda", Exploration)), read, step.seed)
    if written is None or written.gate.decision == "REJECT":
        return Output(
            learned.model_copy(update={"warnings": (*learned.warnings, *(written.warnings if written else ()))})
        )
    return Output(_augmented(written, learned))


@dataclass(frozen=True)
class _Scene:
    profile: Profile
    snapshot: Snapshot | None
    exploration: Exploration | None

    @property
    def question(self) -> Question:
        return self.profile.question

    def kind(self, name: str) -> str:
        found = next((c for c in self.snapshot.columns if c.name == name), None) if self.snapshot else None
        return found.kind if found else "numeric"

    def suspects(self) -> set[str]:
        return {s.column for s in self.exploration.suspicions} if self.exploration else set()


def _rejected(method: str, reason: str, *notes: Note) -> Graph:
    warning = Note(code="NO_GRAPH", message=reason)
    return Graph(
        nodes=(),
        edges=(),
        discovery_method=method,
        gate=Gate(decision="REJECT", confidence=0.0, reasons=(reason,)),
        warnings=(warning, *notes),
    )


# --- the given graph ----------------------------------------------------------------------------------------------


def _checked(question: Question, snapshot: Snapshot | None) -> Graph:
    """Return the given graph if it can be read, is acyclic and names columns of the table only."""
    try:
        written = given.parse(question.causal_graph or "")
        graph.build(written.nodes, written.edges, written.confounded)
    except InputError as exc:
        return _rejected("given", exc.message)
    known = {c.name for c in snapshot.columns} if snapshot else set(written.nodes)
    unknown = [name for name in written.nodes if name not in known and name not in written.latent]
    if unknown:
        what = f"the causal graph names {shown(unknown[0])!r}, which is no column; mark it as [latent] if it is not measured"
        return _rejected("given", what)
    if question.treatment not in written.nodes or question.outcome not in written.nodes:
        return _rejected("given", "the causal graph lacks the treatment or the outcome")
    return Graph(
        nodes=written.nodes,
        edges=(
            *(Edge(source=a, target=b) for a, b in written.edges),
            *(Edge(source=a, target=b, type="bidirected") for a, b in written.confounded),
        ),
        discovery_method="given",
        gate=Gate(decision="ACCEPT", confidence=1.0, reasons=("given by the person; acyclic, and its names exist",)),
    )


def _augmented(written: Graph, learned: Graph) -> Graph:
    """Return the given graph with the learned edges that the gate lets in; none that closes a cycle."""
    floor = {"ACCEPT": 0.5, "AUGMENT": AUGMENTING}.get(learned.gate.decision)
    joined = {frozenset((e.source, e.target)) for e in written.edges}
    edges, added = list(written.edges), 0
    for edge in sorted(learned.edges, key=lambda e: (-e.confidence, e.source, e.target)):
        if floor is None or edge.type != "directed" or edge.confidence < floor:
            continue
        if frozenset((edge.source, edge.target)) in joined or not _stays_acyclic(edges, edge):
            continue
        edges.append(edge)
        added += 1
    return written.model_copy(
        update={
            "nodes": tuple(dict.fromkeys((*written.nodes, *learned.nodes))),
            "edges": tuple(edges),
            "discovery_method": f"given+{learned.discovery_method}" if added else "given",
            "gate": learned.gate,
            "algorithms": learned.algorithms,
            "warnings": (*written.warnings, *learned.warnings),
        }
    )


def _stays_acyclic(edges: Iterable[Edge], new: Edge) -> bool:
    pairs = [(e.source, e.target) for e in (*edges, new) if e.type == "directed"]
    try:
        graph.build((), pairs)
    except InputError:
        return False
    return True


# --- the learned graph --------------------------------------------------------------------------------------------


def _learned(scene: _Scene, read: Reader, seed: int) -> Graph:
    """Return the ensemble's graph over treatment and covariates, names of the data in place of places."""
    preferences = scene.question.preferences
    try:
        algorithms = tuple(dict.fromkeys(discovery.resolve(name) for name in preferences.discovery_algorithms))
    except InputError as exc:
        return _rejected("ensemble", exc.message)
    names, notes = _columns(scene)
    frame = read(names, "covariates_treatment").dropna()
    if len(frame) < MIN_ROWS or len(names) < 2:
        reason = f"{len(frame)} complete rows of {len(names)} columns are too few to learn a graph from"
        return _rejected("ensemble", reason, *notes)
    if len(frame) > ensemble.MAX_ROWS:
        notes.append(
            Note(code="ROWS_CAPPED", message=f"the graph was learned from {ensemble.MAX_ROWS} rows", severity="info")
        )
        frame = frame.sample(ensemble.MAX_ROWS, random_state=seed % 2**32).sort_index()
    numbers = columns.encode(frame)
    knowledge = _knowledge(names, scene)
    ballot = columns.collapse(
        ensemble.vote(
            numbers.data,
            knowledge=columns.spread(knowledge, numbers.owner),
            algorithms=algorithms,
            alpha=preferences.discovery_alpha,
            seed=seed,
        ),
        numbers.owner,
        len(names),
    )
    decision = ensemble.decide(ballot, threshold=preferences.discovery_threshold)
    return Graph(
        nodes=tuple(names),
        edges=_edges(names, ballot, decision),
        discovery_method="ensemble",
        gate=ensemble.gate(ballot, decision),
        algorithms=_algorithms(ballot),
        warnings=(*notes, *_dropped(names, numbers.dropped), *_skipped(ballot)),
    )


def _columns(scene: _Scene) -> tuple[list[str], list[Note]]:
    """Return the treatment and the columns that a graph may be learned over, at most `MAX_COLUMNS`."""
    question = scene.question
    treatment = cast(str, question.treatment)
    away = {question.outcome, question.unit, question.time, question.cluster, question.weights, question.cost}
    away |= {question.population, question.first_treated, *question.outcome_proxies, *question.negative_controls}
    pool: Sequence[str] = question.covariates or ()
    if question.covariates is None and scene.snapshot is not None:
        pool = [c.name for c in scene.snapshot.columns]
    wanted = dict.fromkeys([*question.instruments, *question.mediators, *pool])
    usable = [
        c for c in wanted if c not in away and c != treatment and scene.kind(c) in ("numeric", "binary", "categorical")
    ]
    notes = []
    if len(usable) >= MAX_COLUMNS:
        message = f"the graph was learned over the first {MAX_COLUMNS - 1} of {len(usable)} covariates"
        notes.append(Note(code="COLUMNS_CAPPED", message=message))
    return [treatment, *usable[: MAX_COLUMNS - 1]], notes


def _knowledge(names: Sequence[str], scene: _Scene) -> Knowledge:
    """Return what roles and names say: nothing causes what was before it, and no column causes age or race.

    The treatment (column 0) causes no covariate that the person named or whose name says that it was measured before;
    a column under suspicion and one that was merely found stay open.
    """
    question, p = scene.question, len(names)
    forbidden = np.zeros((p, p), dtype=bool)
    named = set() if "covariates" in scene.profile.proposed else set(question.covariates or ())
    early = (named - scene.suspects()) | set(question.instruments)
    for k in range(1, p):
        name, spoken = names[k], set(placebo.words(names[k]))
        forbidden[0, k] = (name in early or bool(spoken & (_NO_CAUSES | _BEFORE))) and name not in question.mediators
        forbidden[k, 0] = name in question.mediators
        if spoken & _NO_CAUSES:
            forbidden[[j for j in range(p) if not set(placebo.words(names[j])) & _NO_CAUSES], k] = True
    for i, j in _later_pairs(names):
        forbidden[i, j] = True
    return Knowledge(forbidden, np.zeros((p, p), dtype=bool))


def _later_pairs(names: Sequence[str]) -> list[tuple[int, int]]:
    """Return the pairs of columns of one stem of which the first is of a later year."""
    when = [placebo.dated(name) for name in names]
    return [
        (i, j)
        for i, a in enumerate(when)
        for j, b in enumerate(when)
        if a is not None and b is not None and a[0] == b[0] and a[1] > b[1]
    ]


def _edges(names: Sequence[str], ballot: ensemble.Ballot, decision: ensemble.Decision) -> tuple[Edge, ...]:
    def edge(i: int, j: int, confidence: float, *, directed: bool) -> Edge:
        votes = {
            key: round(float(v[i, j] if directed else min(1.0, v[i, j] + v[j, i])), 6)
            for key, v in ballot.by_algorithm.items()
        }
        kind: Literal["directed", "undirected"] = "directed" if directed else "undirected"
        return Edge(source=names[i], target=names[j], type=kind, confidence=round(confidence, 6), votes=votes)

    return (
        *(edge(i, j, c, directed=True) for i, j, c in decision.directed),
        *(edge(i, j, c, directed=False) for i, j, c in decision.undirected),
    )


def _algorithms(ballot: ensemble.Ballot) -> Mapping[str, str]:
    return {key: f"{count} rounds" for key, count in ballot.rounds.items()} | dict(ballot.skipped)


def _dropped(names: Sequence[str], places: Sequence[int]) -> tuple[Note, ...]:
    if not places:
        return ()
    message = "these columns do not vary or are explained by the others; the graph says nothing about them"
    return (Note(code="COLLINEAR", message=message, columns=tuple(names[k] for k in places)),)


def _skipped(ballot: ensemble.Ballot) -> tuple[Note, ...]:
    return tuple(
        Note(code="SEARCH_SKIPPED", message=f"{key} took no part: {why}", severity="info")
        for key, why in ballot.skipped.items()
    )
