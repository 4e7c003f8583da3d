"""Figures of who gains more and whom to treat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from causal_orchestrator.errors import NotApplicable
from causal_orchestrator.figures.canvas import BLUE, INK, MUTED, SKY, VERMILION, Drawing, listed, number, plain, sheet
from causal_orchestrator.figures.evidence import Evidence, label

LEVELS = 12
COSTS = np.linspace(0.0, 3.0, 31)  # times the mean cost


def uplift(evidence: Evidence) -> Drawing:
    """Draw what treating those with the highest estimated effects first would gain."""
    cate = _heterogeneity(evidence).get("cate") or {}
    curve = cate.get("curve") or ()
    if not curve:
        raise NotApplicable("no method estimated effects of single units that differ")
    share = [0.0, *(point["share"] for point in curve)]
    figure, axes = sheet(2.9)
    axes.fill_between(share, [0.0, *(p["ci_lower"] for p in curve)], [0.0, *(p["ci_upper"] for p in curve)], color=SKY, alpha=0.3, linewidth=0)  # fmt: skip
    axes.plot(share, [0.0, *(p["gain"] for p in curve)], "o-", color=BLUE, markersize=4)
    axes.plot(share, [0.0, *(p["random"] for p in curve)], color=VERMILION, linestyle=(0, (4, 3)), linewidth=1.4)
    axes.axhline(0, color=INK, linewidth=0.9)
    axes.xaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
    axes.set_xlabel("share treated, highest estimated effects first")
    axes.set_ylabel("gain per unit of all")
    plain(axes, "y")
    qini = cate.get("qini") or {}
    best = max(curve, key=lambda point: point["gain"])
    return Drawing(
        figure,
        f"Gain from treating first whom {label(str(cate['method']).replace('_', ' '))} ranks first, by doubly robust scores, "
        f"with a band that holds along the curve; dashed is treating as many at random. {_area(qini)}",
        f"The curve is highest at {best['share']:.0%} treated with {number(best['gain'])}.",
    )


def _area(qini: Mapping[str, Any]) -> str:
    if qini.get("ci_lower") is None:
        return ""
    return f"Area between them (Qini) {number(qini['estimate'])}, interval {number(qini['ci_lower'])} to {number(qini['ci_upper'])}."


def tree(evidence: Evidence) -> Drawing:
    """Draw the learned policy as a tree."""
    policy = _heterogeneity(evidence).get("policy") or {}
    root = policy.get("tree")
    if not root:
        raise NotApplicable("no policy was learned")
    leaves, depth = _leaves(root), _depth(root)
    figure, axes = sheet(1.1 + 0.85 * depth)
    _draw_node(axes, root, 0, leaves, 0)
    axes.set_xlim(-0.1, leaves + 0.1)
    axes.set_ylim(-depth - 0.45, 0.45)
    axes.set_axis_off()
    gain = policy.get("gain") or {}
    told = (
        "" if gain.get("ci_lower") is None else f", interval {number(gain['ci_lower'])} to {number(gain['ci_upper'])}"
    )
    return Drawing(
        figure,
        "Whom to treat, of all trees of this depth the one with the highest doubly robust value; left where the condition "
        f"holds. Gain over the best policy for everyone alike, on units that the tree did not see: {number(gain.get('estimate') or 0.0)}{told}.",
        _spoken(root),
    )


def _leaves(node: Mapping[str, Any]) -> int:
    return 1 if "action" in node else _leaves(node["left"]) + _leaves(node["right"])


def _depth(node: Mapping[str, Any]) -> int:
    return 0 if "action" in node else 1 + max(_depth(node["left"]), _depth(node["right"]))


def _draw_node(axes: Any, node: Mapping[str, Any], start: float, width: int, depth: int) -> None:
    """Draw a node in the middle of the room for its leaves, then its branches."""
    x, y = start + width / 2, -depth
    if "action" in node:
        text, colour = f"give {label(str(node['action']), 14)}\n{node['n']:,} units", VERMILION
    else:
        text, colour = f"{label(str(node['feature']), 18)} ≤ {number(node['threshold'])}", BLUE
        left = _leaves(node["left"])
        for child, at, room in ((node["left"], start, left), (node["right"], start + left, width - left)):
            axes.plot([x, at + room / 2], [y, y - 1], color=MUTED, linewidth=1.2, zorder=1)
            _draw_node(axes, child, at, room, depth + 1)
    box = {"boxstyle": "round,pad=0.35", "facecolor": "white", "edgecolor": colour, "linewidth": 1.6}
    axes.text(x, y, text, ha="center", va="center", fontsize=10, bbox=box, zorder=2)


def _spoken(node: Mapping[str, Any]) -> str:
    if "action" in node:
        return f"give {label(str(node['action']))}"
    condition = f"{label(str(node['feature']))} at most {number(node['threshold'])}"
    return f"if {condition}: {_spoken(node['left'])}; else: {_spoken(node['right'])}"


def compared(evidence: Evidence) -> Drawing:
    """Draw what each policy is worth, those of the policy column first."""
    rows = _policy_rows(evidence)
    if not rows:
        raise NotApplicable("no policy was valued")
    figure, axes = sheet(1.1 + 0.36 * len(rows))
    for place, row in enumerate(rows):
        colour = VERMILION if place == 0 else BLUE
        if row.get("ci_lower") is not None and row.get("ci_upper") is not None:
            axes.plot([row["ci_lower"], row["ci_upper"]], [place, place], color=colour, linewidth=2.4)
        axes.plot([row["estimate"]], [place], "D" if place == 0 else "o", color=colour, markeredgecolor="white", markersize=8)  # fmt: skip
    listed(axes, [label(str(row["term"]).replace("_", " "), 30) for row in rows])
    axes.set_xlabel(f"mean of {label(evidence.question.outcome or 'the outcome')} under the policy")
    plain(axes)
    return Drawing(
        figure,
        "Mean outcome under each policy (costs taken off where a policy was learned with them), with intervals that hold together.",
        "; ".join(f"{label(str(row['term']).replace('_', ' '), 30)} {number(row['estimate'])}" for row in rows),
    )


def _policy_rows(evidence: Evidence) -> list[Mapping[str, Any]]:
    effects = evidence.effects.effects if evidence.effects else ()
    given = next((e for e in effects if e.estimand == "POLICY_VALUE" and e.status == "ok"), None)
    if given is not None:
        return [row.model_dump() for row in given.rows if row.estimate is not None]
    policy = _heterogeneity(evidence).get("policy") or {}
    return [row for row in policy.get("values") or () if row.get("estimate") is not None]


def net_benefit(evidence: Evidence) -> Drawing:
    """Draw what is left of the gain after costs, over the share treated and the cost of treating one unit."""
    curve = (_heterogeneity(evidence).get("cate") or {}).get("curve") or ()
    if not curve:
        raise NotApplicable("no method estimated effects of single units that differ")
    name = str(evidence.question.cost)
    cost = float(np.nanmean(evidence.read([name])[name].to_numpy(dtype=np.float64)))
    if not cost > 0:
        raise NotApplicable("the mean cost is not positive")
    share, gain = np.array([point["share"] for point in curve]), np.array([point["gain"] for point in curve])
    surface = gain[None, :] - cost * COSTS[:, None] * share[None, :]
    figure, axes = sheet(3.1)
    largest = float(np.abs(surface).max()) or 1.0
    drawn = axes.contourf(share, cost * COSTS, surface, LEVELS, cmap="RdBu", vmin=-largest, vmax=largest)
    if surface.min() < 0 < surface.max():
        axes.contour(share, cost * COSTS, surface, [0.0], colors=INK, linewidths=1.4)
    axes.axhline(cost, color=INK, linewidth=1.2, linestyle=(0, (4, 3)))
    axes.xaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
    axes.set_xlabel("share treated, highest estimated effects first")
    axes.set_ylabel("cost of treating one unit")
    plain(axes, "y")
    figure.colorbar(drawn, ax=axes, label="net benefit per unit of all")
    at = int((gain - cost * share).argmax())
    return Drawing(
        figure,
        "Gain less cost; the solid line is where nothing is left, the dashed one the mean cost in the data.",
        f"At the mean cost of {number(cost)} the net benefit is highest with {share[at]:.0%} treated.",
    )


def landscape(evidence: Evidence) -> Drawing:
    """Draw mean effects over two covariates as a map."""
    covariates, edges, effect = _grid(evidence)
    figure, axes = sheet(3.3)
    largest = float(np.nanmax(np.abs(effect))) or 1.0
    drawn = axes.pcolormesh(edges[0], edges[1], effect.T, cmap="RdBu", vmin=-largest, vmax=largest, edgecolors="white")
    axes.grid(visible=False)
    axes.set_xlabel(label(covariates[0]))
    axes.set_ylabel(label(covariates[1]))
    plain(axes)
    plain(axes, "y")
    figure.colorbar(drawn, ax=axes, label="mean estimated effect")
    return Drawing(
        figure,
        "Mean estimated effects over the two covariates with which they go most; cells of fewer than ten units are empty.",
        _range(covariates, effect),
    )


def surface(evidence: Evidence) -> Drawing:
    """Draw mean effects over two covariates as a surface in space."""
    covariates, edges, effect = _grid(evidence)
    if np.isnan(effect).any():
        raise NotApplicable("some cells of the two covariates hold fewer than ten units")
    middles = [(e[:-1] + e[1:]) / 2 for e in edges]
    figure, axes = sheet(4.2, subplot_kw={"projection": "3d"})
    across, along = np.meshgrid(*middles, indexing="ij")
    axes.plot_surface(across, along, effect, cmap="cividis", edgecolor="white", linewidth=0.4, antialiased=True)
    axes.set_xlabel(label(covariates[0], 16), labelpad=12)
    axes.set_ylabel(label(covariates[1], 16), labelpad=12)
    axes.set_zlabel("effect")
    return Drawing(
        figure,
        "Mean estimated effects over the two covariates with which they go most.",
        _range(covariates, effect),
    )


def _grid(evidence: Evidence) -> tuple[list[str], list[Any], Any]:
    found = _heterogeneity(evidence).get("landscape") or {}
    if not found:
        raise NotApplicable("no effects of single units over two covariates of many values")
    effect = np.array([[np.nan if v is None else v for v in row] for row in found["effect"]], dtype=np.float64)
    if np.isfinite(effect).sum() < 4:
        raise NotApplicable("too few units share values of the two covariates")
    return [str(name) for name in found["covariates"]], [np.array(e) for e in found["edges"]], effect


def _range(covariates: Sequence[str], effect: Any) -> str:
    low, high = float(np.nanmin(effect)), float(np.nanmax(effect))
    return (
        f"Over {label(covariates[0])} and {label(covariates[1])} mean effects run from {number(low)} to {number(high)}."
    )


def _heterogeneity(evidence: Evidence) -> Mapping[str, Any]:
    return evidence.effects.heterogeneity if evidence.effects else {}
