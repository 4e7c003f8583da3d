"""Data with a known effect, one function per design: ``SIMULATIONS[name](n, seed=…) -> Simulated``."""

from __future__ import annotations

from collections.abc import Callable

from causal_orchestrator.simulate import assigned, confounded, connected, iv, mediated, panel, proxied, rd, transported
from causal_orchestrator.simulate.record import Simulated

__all__ = ["SIMULATIONS", "Simulated"]

SIMULATIONS: dict[str, Callable[..., Simulated]] = {
    "randomized": assigned.randomized,
    "randomized_heterogeneous": assigned.randomized_heterogeneous,
    "randomized_clusters": assigned.randomized_clusters,
    "randomized_arms": assigned.randomized_arms,
    "randomized_binary": assigned.randomized_binary,
    "no_effect": assigned.no_effect,
    "confounded_linear": confounded.linear,
    "confounded_nonlinear": confounded.nonlinear,
    "confounded_heterogeneous": confounded.heterogeneous,
    "confounded_policy": confounded.policy,
    "confounded_binary": confounded.binary,
    "confounded_arms": confounded.arms,
    "confounded_dose": confounded.dose,
    "confounded_clusters": confounded.clusters,
    "weak_overlap": confounded.weak_overlap,
    "unmeasured": confounded.unmeasured,
    "panel_block": panel.block,
    "panel_staggered": panel.staggered,
    "interrupted": panel.interrupted,
    "forecastable": panel.forecastable,
    "encouraged": iv.encouraged,
    "encouraged_dose": iv.dose,
    "encouraged_types": iv.types,
    "mediated": mediated.mediated,
    "cutoff": rd.sharp,
    "cutoff_fuzzy": rd.fuzzy,
    "connected": connected.connected,
    "proxied": proxied.proxied,
    "transported": transported.transported,
}
