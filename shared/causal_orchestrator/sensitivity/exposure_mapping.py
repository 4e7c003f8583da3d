"""Whether the effects on a network hang on how exposure was defined: other mappings, and treatment further away."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from causal_orchestrator.errors import CausalError, NotApplicable
from causal_orchestrator.numerics import network
from causal_orchestrator.results import EffectRow, SensitivityResult, settled_sign

if TYPE_CHECKING:
    from causal_orchestrator.problem import Estimate, Problem

Links = Any  # sparse (n, n), a row per unit that is reached

STEPS = (2, 3)
LEVEL = 0.05
MOST_MET = 60.0  # units at one distance, on average, from which nearly everyone is exposed


def analyse(
    problem: Problem,
    estimate: Estimate,
    *,
    refit: Callable[[Problem], Estimate],
    seed: int = 0,
    other: Callable[[Problem], Estimate] | None = None,
) -> SensitivityResult:
    """Estimate again with units two and three steps away in the neighbours' place, and by the other exposure.

    Where treatment reaches neighbours alone, treated units exactly two or three steps away do nothing: a spillover from
    there (Holm over the steps) refutes the mapping. This holds where units are assigned one by one, so that those near
    and far are treated independently of each other; with whole clusters it is told and no test. The direct effect must
    not change its sign where more counts as exposure.

    Parameters
    ----------
    other : the headline's method with the other exposure (``half`` for ``any``).

    Returns
    -------
    SensitivityResult
        `value` is the largest spillover beyond one step, in units of the outcome. ``details``: `steps` (spillover from
        treated units at each distance), `mappings` (direct effect under each exposure), `gate_p_value`.

    Raises
    ------
    NotApplicable
        If no unit has another exactly two steps away in enough exposures.

    References
    ----------
    Sävje (2024), https://doi.org/10.1093/biomet/asad019, on exposures that are misspecified; Aronow & Samii (2017),
    https://doi.org/10.1214/16-AOAS1005.
    """
    links, names = _links(problem)
    steps = [_row(1, estimate)]
    for distance, apart in _distances(links):
        found = _tried(refit, _rewired(problem, apart, names))
        if found is not None:
            steps.append(_row(distance, found))
    far = [row for row in steps[1:] if row.get("p_value") is not None]
    if not far:
        raise NotApplicable("too few units have others exactly two steps away, treated and untreated")
    wider = _tried(refit, _rewired(problem, _within_two(links), names))
    half = _tried(other, problem) if other is not None else None
    mappings = {"as planned": estimate, "within two steps": wider, "the other exposure": half}
    direct = {name: found.rows[0] for name, found in mappings.items() if found is not None}
    turned = [name for name, row in direct.items() if settled_sign(row) * settled_sign(direct["as planned"]) < 0]
    p = min(1.0, len(far) * min(row["p_value"] for row in far))
    tested = problem.cluster is None and not turned
    farthest = max(far, key=lambda row: abs(row["estimate"]))
    return SensitivityResult(
        method="exposure_mapping",
        value=abs(farthest["estimate"]),
        interpretation=_sentence(far, p, turned, clustered=problem.cluster is not None),
        passed=False if turned else p >= LEVEL if tested else None,
        details={"steps": steps, "mappings": {name: _told(row) for name, row in direct.items()}, "turned": turned}
        | ({"gate_p_value": p} if tested else {}),
    )


def _links(problem: Problem) -> tuple[Links, list[str]]:
    """Return who was seen by whom (target, source), units without an outcome last."""
    question, more = problem.question, problem.unobserved
    if question.network is None or "unit" not in problem.roles:
        raise NotApplicable("needs a network and the column of the units")
    names = [network.name_of(unit) for unit in (*problem.roles["unit"], *more.get("unit", ()))]
    if question.network_column is None:
        edges = network.read_edges(question.network, names)
    else:
        edges = network.read_neighbours(problem.roles["network"].tolist(), names[: problem.n], names)
    n = len(names)
    return sparse.csr_array((np.ones(len(edges.source)), (edges.target, edges.source)), shape=(n, n)), names


def _distances(links: Links) -> list[tuple[int, Links]]:
    """Return for each number of steps the pairs that are exactly so far apart."""
    n = links.shape[0]
    nearer = _marked(links + sparse.eye_array(n, format="csr"))
    found, reached = [], links
    for distance in STEPS:
        reached = _marked(reached @ links)
        exact = _marked(reached - reached.multiply(nearer))
        if exact.nnz > MOST_MET * n:
            break
        found.append((distance, exact))
        nearer = _marked(nearer + exact)
    return found


def _within_two(links: Links) -> Links:
    near = _marked(links + links @ links)
    return _marked(near - near.multiply(sparse.eye_array(near.shape[0], format="csr")))


def _marked(values: Any) -> Links:
    """Return ones where there is something."""
    marked = sparse.csr_array(values)
    marked.eliminate_zeros()
    marked.data[:] = 1.0
    return marked


def _rewired(problem: Problem, links: Links, names: list[str]) -> Problem:
    """Return the problem with other pairs as neighbours, told the way the question tells them."""
    if problem.question.network_column is None:
        target, source = links.nonzero()
        told = ";".join(f"{names[a]} -> {names[b]}" for a, b in zip(source, target, strict=True))
        return problem.change(question=problem.question.model_copy(update={"network": told + ";"}))
    lists: NDArray[Any] = np.array(
        ["; ".join(names[j] for j in links.indices[links.indptr[i] : links.indptr[i + 1]]) for i in range(problem.n)],
        dtype=object,
    )
    return problem.change(roles={**problem.roles, "network": lists})


def _tried(refit: Callable[[Problem], Estimate], problem: Problem) -> Estimate | None:
    try:
        return refit(problem)
    except CausalError:  # too few in an exposure: there is nothing to compare at this distance
        return None


def _told(row: EffectRow) -> dict[str, Any]:
    return row.model_dump(include={"estimate", "std_error", "ci_lower", "ci_upper", "p_value", "n"})


def _row(steps: int, found: Estimate) -> dict[str, Any]:
    row = next((row for row in found.rows if row.term == "spillover"), None)
    return {"steps": steps, **(_told(row) if row is not None else {})}


def _sentence(far: list[dict[str, Any]], p: float, turned: list[str], *, clustered: bool) -> str:
    rows = ", ".join(f"{row['estimate']:.3g} ({row['ci_lower']:.3g} to {row['ci_upper']:.3g}) from {row['steps']} steps away" for row in far)  # fmt: skip
    said = f"Treated units beyond the neighbours seem to do: {rows}."
    if clustered:
        said += (
            " Whole clusters were assigned, so that near and far units were treated together, and this tests nothing."
        )
    elif p < LEVEL:
        said += f" Treatment reaches further than to neighbours (p = {p:.3g}): the exposure is defined too narrowly."
    else:
        said += f" That is no more than chance (p = {p:.3g})."
    return said + (f" The direct effect has the other sign with exposure {turned[0]}." if turned else "")
