"""Tables that an analysis must not approve, and as many that it should answer, each with its permitted verdicts (HON-1).

``GENERATORS[name].make(seed)`` returns a table and a question. The permitted verdicts stand here, fixed before any run;
a trap whose permitted verdicts leave out ``answer`` is a false approval where the verdict is ``answer``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import special

from causal_orchestrator.simulate import SIMULATIONS

ROOT = Path(__file__).parent.parent
DATA = Path(os.environ.get("CAUSAL_TEST_DATA", ROOT / "../shared/data"))
ROWS, MANY = 1_500, 4_000

Question = Mapping[str, Any]
Made = tuple[pd.DataFrame, Question]
WARNED, REFUSED, ANSWERED = ("limited", "refuse"), ("refuse",), ("answer",)


@dataclass(frozen=True)
class Generator:
    """A kind of table: how it is made, what a verdict may be, what is wrong (or right) with it, and the true effect."""

    make: Callable[[int], Made]
    permitted: tuple[str, ...]
    about: str
    truth: float | None = None

    @property
    def trap(self) -> bool:
        """Whether an approval would be wrong."""
        return "answer" not in self.permitted


class _People:
    """Rows with covariates, an earlier outcome and a base level of the outcome; nothing is assigned yet."""

    def __init__(self, seed: int, n: int, *, hidden: float = 0.0) -> None:
        self.rng = np.random.default_rng([seed, 20_260])
        self.n, self.hidden = n, self.rng.standard_normal(n)
        self.x = pd.DataFrame({name: self.rng.standard_normal(n) for name in ("age", "income", "tenure")})
        self.index = self.x.to_numpy() @ [0.8, 0.6, 0.3]
        self.base = self.index + hidden * self.hidden
        self.before = self.base + self.noise()

    def noise(self, scale: float = 1.0) -> np.ndarray:
        return self.rng.standard_normal(self.n) * scale

    def coin(self, chance: Any = 0.5) -> np.ndarray:
        return np.asarray((self.rng.random(self.n) < chance) * 1.0)

    def table(self, t: np.ndarray, y: np.ndarray, **more: Any) -> pd.DataFrame:
        return self.x.assign(sales_before=self.before, treated=t, sales=y, **more)


def _asked(*covariates: str, **roles: Any) -> Question:
    named = covariates or ("age", "income", "tenure")
    return {"treatment": "treated", "outcome": "sales", "covariates": list(named), **roles}


WITH_PLACEBO = ("age", "income", "tenure", "sales_before")


# --- traps ----------------------------------------------------------------------------------------------------------


def separated(seed: int) -> Made:
    p = _People(seed, ROWS)
    t = (p.x["age"] + p.x["income"] > 0.3).to_numpy() * 1.0  # of one covariate it would be a clean discontinuity
    return p.table(t, p.base + t + p.noise()), _asked(*WITH_PLACEBO)


def poor_overlap(seed: int) -> Made:
    p = _People(seed, ROWS)
    t = p.coin(special.expit(5 * p.x["age"]))
    return p.table(t, p.base + t + p.noise()), _asked(*WITH_PLACEBO)


def collider_adjusted(seed: int) -> Made:
    p = _People(seed, MANY)
    t = p.coin(special.expit(0.5 * p.index))
    y = p.base + t + p.noise()
    return p.table(t, y, retained=t + y + p.noise()), _asked(*WITH_PLACEBO, "retained")


def mediator_adjusted(seed: int) -> Made:
    p = _People(seed, ROWS)
    t = p.coin()
    usage = t + p.noise()
    return p.table(t, p.base + usage + 0.3 * t + p.noise(), usage=usage), _asked(*WITH_PLACEBO, "usage", randomized=True)  # fmt: skip


def post_treatment_covariate(seed: int) -> Made:
    p = _People(seed, MANY)
    t = p.coin(special.expit(0.5 * p.index))
    later = 0.7 * t + 0.5 * p.base + p.noise()
    y = p.base + 0.5 * t + later + p.noise()
    return p.table(t, y, visits_after=later), _asked(*WITH_PLACEBO, "visits_after")


def weak_instrument(seed: int) -> Made:
    p = _People(seed, ROWS, hidden=1.0)
    z = p.coin()
    t = (0.04 * z + 0.3 * p.x["age"].to_numpy() + p.hidden + p.noise() > 0) * 1.0
    return p.table(t, p.base + t + p.noise(), offer=z), _asked(instruments=["offer"])


def invalid_instrument(seed: int) -> Made:
    """Of two strong instruments one moves the outcome by itself."""
    p = _People(seed, MANY, hidden=0.7)
    z, w = p.coin(), p.coin()
    t = (1.2 * z + 1.2 * w + 0.7 * p.hidden + p.noise() > 1.2) * 1.0
    return p.table(t, p.base + t + 0.8 * w + p.noise(), offer=z, letter=w), _asked(instruments=["offer", "letter"])


def confounded_instrument(seed: int) -> Made:
    """Let the instrument go with a hidden cause that moved the earlier outcome too."""
    p = _People(seed, MANY, hidden=1.0)
    z = p.coin(special.expit(p.hidden))
    t = (1.5 * z + 0.3 * p.x["age"].to_numpy() + p.noise() > 0.75) * 1.0
    return p.table(t, p.base + t + p.noise(), offer=z), _asked(*WITH_PLACEBO, instruments=["offer"])


def manipulated_cutoff(seed: int) -> Made:
    """Half of those just below the cutoff, the abler ones, get themselves above it."""
    p = _People(seed, MANY)
    r = p.rng.uniform(-1, 1, p.n)
    able = special.expit(2 * p.noise())
    moved = (r < 0) & (r > -0.15) & (p.rng.random(p.n) < able)
    r = np.where(moved, -r * 0.5, r)
    t = (r >= 0) * 1.0
    return p.table(t, p.base + r + t + moved + p.noise(), points=r), _asked(running_variable="points", cutoff=0.0)


def jumping_covariate(seed: int) -> Made:
    """Another rule at the same cutoff: a covariate and the earlier outcome jump there too."""
    p = _People(seed, MANY)
    r = p.rng.uniform(-1, 1, p.n)
    t = (r >= 0) * 1.0
    p.x["income"] += 0.8 * t
    p.before = p.before + 0.8 * t
    return p.table(t, p.base + r + t + 0.8 * t + p.noise(), points=r), _asked(*WITH_PLACEBO, running_variable="points", cutoff=0.0)  # fmt: skip


def diverging_trends(seed: int) -> Made:
    """Units that will be treated were growing faster before."""
    made = SIMULATIONS["panel_staggered"](1_800, seed=seed + 300)
    grows = (made.frame["first"] > 0) * made.frame["period"]
    return made.frame.assign(y=made.frame["y"] + 0.6 * grows), _panel(made)


def diverging_gently(seed: int) -> Made:
    """Units that will be treated were growing a little faster before: a third of the slope above."""
    made = SIMULATIONS["panel_staggered"](1_800, seed=seed + 700)
    grows = (made.frame["first"] > 0) * made.frame["period"]
    return made.frame.assign(y=made.frame["y"] + 0.2 * grows), _panel(made)


def _panel(made: Any) -> Question:
    kept = ("treatment", "outcome", "covariates", "unit", "time", "first_treated")
    return {name: value for name in kept if (value := getattr(made.question, name)) is not None}


def poor_synthetic_fit(seed: int) -> Made:
    """One treated unit far above every donor, on a course of its own."""
    return _one_treated(seed, level=6.0, own=0.8)


def _one_treated(seed: int, *, level: float, own: float, effect: float = 4.0) -> Made:
    rng = np.random.default_rng([seed, 7])
    units, periods, start = 25, 30, 20
    time = np.arange(periods)
    factors = np.cumsum(rng.standard_normal((2, periods)) * 0.4, axis=1)
    loads = rng.uniform(0.2, 1.0, (units, 2))
    loads[0] = 0.6
    y = 10 + 3 * loads @ factors + 0.3 * rng.standard_normal((units, periods))
    y[0] += level + own * np.cumsum(rng.standard_normal(periods))
    on = (np.arange(units)[:, None] == 0) & (time >= start)
    frame = pd.DataFrame(
        {
            "region": np.repeat([f"r{k:02d}" for k in range(units)], periods),
            "quarter": np.tile(time, units),
            "law": on.ravel() * 1.0,
            "deaths": (y + effect * on).ravel(),
        }
    )
    return frame, {"treatment": "law", "outcome": "deaths", "unit": "region", "time": "quarter", "covariates": []}


def attrition(seed: int) -> Made:
    """In an experiment those with a bad outcome drop out of the treated arm."""
    p = _People(seed, ROWS)
    t = p.coin()
    y = p.base + 0.2 * t + p.noise()
    gone = (t == 1) & (y < np.quantile(y, 0.3)) & (p.rng.random(p.n) < 0.7)
    return p.table(t, np.where(gone, np.nan, y)), _asked(*WITH_PLACEBO, randomized=True)


def interference(seed: int) -> Made:
    """Let the untreated do better, the more of their village are treated."""
    p = _People(seed, 2_000)
    village = np.arange(p.n) // 20
    share = p.rng.uniform(0.1, 0.9, village.max() + 1)[village]
    t = p.coin(share)
    reached = np.bincount(village, t)[village] / np.bincount(village)[village]
    y = p.base + 0.5 * t + 2.0 * reached + p.noise()
    return p.table(t, y, village=village * 1.0), _asked(*WITH_PLACEBO, randomized=True, cluster="village")


def sample_ratio_mismatch(seed: int) -> Made:
    """Half were to be treated; bad outcomes among controls never reached the table."""
    p = _People(seed, 3_000)
    t = p.coin()
    y = p.base + 0.2 * t + p.noise()
    lost = (t == 0) & (y < np.quantile(y, 0.35)) & (p.rng.random(p.n) < 0.7)
    told = "Customers were randomly assigned, half of them (50 %) to treatment and half to control."
    return p.table(t, y)[~lost].reset_index(drop=True), _asked(*WITH_PLACEBO, randomized=True, description=told)


def reverse_timing(seed: int) -> Made:
    p = _People(seed, ROWS)
    t = p.coin(special.expit(0.5 * p.index))
    frame = p.table(t, p.base + t + p.noise()).rename(columns={"treated": "treated_2021", "sales": "sales_2019"})
    return frame, {**_asked(*WITH_PLACEBO), "treatment": "treated_2021", "outcome": "sales_2019"}


def leaked_outcome(seed: int) -> Made:
    """Adjust for the outcome in another form."""
    p = _People(seed, MANY)
    t = p.coin(special.expit(0.5 * p.index))
    y = p.base + t + p.noise()
    return p.table(t, y, log_sales=np.log(y - y.min() + 1) + p.noise(0.02)), _asked(*WITH_PLACEBO, "log_sales")


def leaked_treatment(seed: int) -> Made:
    """Adjust for the treatment's dose, which is zero for controls."""
    p = _People(seed, MANY)
    t = p.coin(special.expit(0.5 * p.index))
    return p.table(t, p.base + t + p.noise(), sessions=t * p.rng.integers(1, 9, p.n)), _asked(*WITH_PLACEBO, "sessions")


def swapped_labels(seed: int) -> Made:
    """Contradict the treatment's code by the arm in words, in a fifth of the rows."""
    p = _People(seed, ROWS)
    t = p.coin()
    wrong = p.rng.random(p.n) < 0.2
    arm = np.where((t == 1) ^ wrong, "treated", "control")
    return p.table(t, p.base + np.where(wrong, 1 - t, t) + p.noise(), arm=arm), _asked(*WITH_PLACEBO, randomized=True)


def reversed_labels(seed: int) -> Made:
    """Code the treated as 0, beside a column that says in words who was treated."""
    p, t, y = _experiment(seed)
    return p.table(1 - t, y, arm=np.where(t == 1, "treatment", "placebo")), _asked(*WITH_PLACEBO, randomized=True)


def hidden_confounder(seed: int) -> Made:
    p = _People(seed, MANY, hidden=1.0)
    t = p.coin(special.expit(0.4 * p.index + p.hidden))
    return p.table(t, p.base + p.noise()), _asked(*WITH_PLACEBO)


def nothing_to_probe(seed: int) -> Made:
    """Observational, and no outcome that could show a hidden cause."""
    p = _People(seed, MANY, hidden=1.0)
    t = p.coin(special.expit(0.4 * p.index + p.hidden))
    return p.table(t, p.base + 0.5 * t + p.noise()).drop(columns="sales_before"), _asked()


def false_randomisation(seed: int) -> Made:
    """Declare an experiment where treatment went by the covariates."""
    p = _People(seed, ROWS)
    t = p.coin(special.expit(0.8 * p.index))
    return p.table(t, p.base + p.noise()), _asked(*WITH_PLACEBO, randomized=True)


def too_small(seed: int) -> Made:
    p = _People(seed, 40)
    t = p.rng.permutation(np.arange(40) % 2) * 1.0
    return p.table(t, p.base + p.noise()), _asked("age", randomized=True)


def _lalonde(controls: str, seed: int) -> Made:
    read = pd.read_parquet if controls.endswith("parquet") else pd.read_csv
    nsw, other = pd.read_csv(DATA / "lalonde_nsw_dw.csv"), read(DATA / controls)
    treated = nsw[nsw["treat"] == 1]
    names = [c for c in ("treat", "age", "education", "black", "hispanic", "married", "nodegree", "re74", "re75", "re78") if c in nsw and c in other]  # fmt: skip
    frame = pd.concat([treated[names], other.assign(treat=0)[names]], ignore_index=True)
    if seed:  # the first is the published table, the others leave out a tenth of the controls
        frame = frame.drop(index=frame.index[frame["treat"] == 0].to_series().sample(frac=0.1, random_state=seed))
    return frame.reset_index(drop=True), {"treatment": "treat", "outcome": "re78", "covariates": [c for c in names if c not in ("treat", "re78")]}  # fmt: skip


def lalonde_psid(seed: int) -> Made:
    return _lalonde("lalonde_psid_controls.csv", seed)


def lalonde_cps(seed: int) -> Made:
    return _lalonde("lalonde_cps_controls.parquet", seed)


# --- clean sets -----------------------------------------------------------------------------------------------------


def _experiment(seed: int, *, n: int = ROWS, effect: Any = 0.5, chance: float = 0.5) -> tuple[_People, Any, Any]:
    p = _People(seed, n)
    t = p.coin(chance)
    return p, t, p.base + effect * t + p.noise()


def experiment(seed: int) -> Made:
    p, t, y = _experiment(seed)
    return p.table(t, y), _asked(*WITH_PLACEBO, randomized=True)


def experiment_described(seed: int) -> Made:
    p, t, y = _experiment(seed)
    told = "Participants were randomly assigned to the programme (treated) or to control; the outcome is sales."
    return p.table(t, y), _asked(*WITH_PLACEBO, description=told)


def experiment_zero(seed: int) -> Made:
    p, t, y = _experiment(seed, n=4_000, effect=0.0)
    return p.table(t, y), _asked(*WITH_PLACEBO, randomized=True)


def experiment_unequal(seed: int) -> Made:
    p, t, y = _experiment(seed, n=3_000, chance=0.1)
    return p.table(t, y), _asked(*WITH_PLACEBO, randomized=True)


def experiment_bare(seed: int) -> Made:
    _, t, y = _experiment(seed)
    return pd.DataFrame({"treated": t, "sales": y}), {**_asked(), "covariates": [], "randomized": True}


def experiment_varying(seed: int) -> Made:
    p = _People(seed, ROWS)
    t = p.coin()
    return p.table(t, p.base + (0.5 + 0.8 * p.x["age"]) * t + p.noise()), _asked(*WITH_PLACEBO, randomized=True)


def experiment_wide(seed: int) -> Made:
    """Add twelve covariates that have nothing to do with anything."""
    p, t, y = _experiment(seed, n=2_000)
    noise = {f"trait_{k}": p.noise() for k in range(12)}
    return p.table(t, y, **noise), _asked(*WITH_PLACEBO, *noise, randomized=True)


def experiment_worded(seed: int) -> Made:
    """Name the arms in words and the places by letters."""
    p, t, y = _experiment(seed, n=2_000)
    frame = p.table(t, y, place=p.rng.choice(list("abcd"), p.n))
    return frame.assign(treated=np.where(t == 1, "treated", "control")), _asked(*WITH_PLACEBO, "place", randomized=True)


def experiment_binary(seed: int) -> Made:
    p = _People(seed, 3_000)
    t = p.coin()
    bought = p.coin(special.expit(0.7 * p.index + 0.7 * t - 0.3))
    return p.table(t, bought).drop(columns="sales_before"), _asked(randomized=True)


def experiment_skewed(seed: int) -> Made:
    p = _People(seed, 4_000)
    t = p.coin()
    y = np.exp(0.5 * p.index + 0.4 * t + p.noise(0.7))
    return p.table(t, y).drop(columns="sales_before"), _asked(randomized=True)


def experiment_clusters(seed: int) -> Made:
    p = _People(seed, 3_000)
    village = np.arange(p.n) // 25
    chosen = p.rng.permutation(village.max() + 1) % 2
    t, shock = chosen[village] * 1.0, p.rng.standard_normal(village.max() + 1)[village]
    y = p.base + 0.8 * t + 0.4 * shock + p.noise()
    return p.table(t, y, village=village * 1.0), _asked(randomized=True, cluster="village")


def experiment_in_villages(seed: int) -> Made:
    """Assign people, not villages; villages have shocks of their own and different shares of treated."""
    p = _People(seed, 2_000)
    village = np.arange(p.n) // 20
    places = village.max() + 1
    t = p.coin(p.rng.uniform(0.2, 0.8, places)[village])
    y = p.base + 0.5 * t + 0.5 * p.rng.standard_normal(places)[village] + p.noise()
    return p.table(t, y, village=village * 1.0), _asked(*WITH_PLACEBO, randomized=True, cluster="village")


def experiment_labelled(seed: int) -> Made:
    """Keep the arm in words beside its code, and a column of words that has nothing to do with it."""
    p, t, y = _experiment(seed)
    other = np.where(p.coin() == 1, "treated", "control")
    words = {"arm": np.where(t == 1, "treated", "control"), "seed_coating": other}
    return p.table(t, y, **words), _asked(*WITH_PLACEBO, randomized=True)


def experiment_three_arms(seed: int) -> Made:
    p = _People(seed, 3_000)
    arm = p.rng.integers(0, 3, p.n)
    y = p.base + np.array([0.0, 0.5, 1.0])[arm] + p.noise()
    frame = p.table(arm * 1.0, y).assign(treated=np.array(["control", "letter", "visit"])[arm])
    return frame, _asked(*WITH_PLACEBO, randomized=True)


def experiment_gaps(seed: int) -> Made:
    """Covariates are missing here and there, outcomes for one in fifty, all by chance."""
    p, t, y = _experiment(seed)
    frame = p.table(t, np.where(p.rng.random(p.n) < 0.02, np.nan, y))
    frame["income"] = frame["income"].mask(p.rng.random(p.n) < 0.08)
    return frame, _asked(*WITH_PLACEBO, randomized=True)


def _observed(seed: int, *, n: int = MANY, **changed: Any) -> tuple[_People, np.ndarray]:
    p = _People(seed, n)
    return p, p.coin(special.expit(0.5 * p.index - 0.1))


def observed(seed: int) -> Made:
    p, t = _observed(seed)
    return p.table(t, p.base + t + p.noise()), _asked(*WITH_PLACEBO)


def observed_varying(seed: int) -> Made:
    p, t = _observed(seed)
    return p.table(t, p.base + (1 + 0.5 * p.x["age"]) * t + p.noise()), _asked(*WITH_PLACEBO)


def observed_treated(seed: int) -> Made:
    p, t = _observed(seed)
    return p.table(t, p.base + t + p.noise()), _asked(*WITH_PLACEBO, estimand="ATT")


def observed_bent(seed: int) -> Made:
    p = _People(seed, MANY)
    bend = 0.6 * (p.x["age"] ** 2 - 1) + 0.5 * p.x["income"]
    p.before = bend + p.noise()
    t = p.coin(special.expit(0.5 * bend))
    return p.table(t, bend + 0.9 * t + p.noise()), _asked(*WITH_PLACEBO)


def observed_dated(seed: int) -> Made:
    p, t = _observed(seed)
    frame = p.table(t, p.base + t + p.noise()).rename(columns={"sales_before": "sales_2018", "sales": "sales_2020"})
    return frame, {**_asked("age", "income", "tenure", "sales_2018"), "outcome": "sales_2020"}


def cutoff(seed: int) -> Made:
    p = _People(seed, 4_000)
    r = p.rng.uniform(-1, 1, p.n)
    t = (r >= 0) * 1.0
    return p.table(t, p.base + r + t + p.noise(0.5), points=r), _asked(running_variable="points", cutoff=0.0)


def cutoff_fuzzy(seed: int) -> Made:
    p = _People(seed, 6_000)
    r = p.rng.uniform(-1, 1, p.n)
    t = p.coin(np.where(r >= 0, 0.9, 0.1))
    return p.table(t, 0.5 * p.base + r + 1.5 * t + p.noise(0.5), points=r), _asked(
        running_variable="points", cutoff=0.0
    )


def lottery(seed: int) -> Made:
    p = _People(seed, 4_000, hidden=0.7)
    z = p.coin()
    t = (1.6 * z + 0.5 * p.hidden + 0.5 * p.noise() > 0.8) * 1.0
    return p.table(t, p.base + t + p.noise(), offer=z), _asked(instruments=["offer"])


def two_lotteries(seed: int) -> Made:
    p = _People(seed, 4_000, hidden=0.7)
    z, w = p.coin(), p.coin()
    t = (1.2 * z + 1.2 * w + 0.5 * p.hidden + 0.5 * p.noise() > 1.2) * 1.0
    return p.table(t, p.base + t + p.noise(), offer=z, letter=w), _asked(instruments=["offer", "letter"])


def staggered(seed: int) -> Made:
    made = SIMULATIONS["panel_staggered"](1_800, seed=seed + 500)
    return made.frame, _panel(made)


def block(seed: int) -> Made:
    made = SIMULATIONS["panel_block"](1_800, seed=seed + 500)
    return made.frame, _panel(made)


def synthetic(seed: int) -> Made:
    return _one_treated(seed, level=0.0, own=0.0)


GENERATORS: dict[str, Generator] = {
    "separated": Generator(separated, REFUSED, "covariates decide the treatment"),
    "poor_overlap": Generator(poor_overlap, WARNED, "hardly anyone could have had either treatment"),
    "collider_adjusted": Generator(collider_adjusted, WARNED, "a common consequence is adjusted for"),
    "mediator_adjusted": Generator(mediator_adjusted, WARNED, "an experiment adjusted for what lies in between"),
    "post_treatment_covariate": Generator(post_treatment_covariate, WARNED, "a later measurement is adjusted for"),
    "weak_instrument": Generator(weak_instrument, WARNED, "the instrument hardly moves the treatment"),
    "invalid_instrument": Generator(invalid_instrument, WARNED, "one of two instruments acts by itself"),
    "confounded_instrument": Generator(confounded_instrument, WARNED, "the instrument went with the earlier outcome"),
    "manipulated_cutoff": Generator(manipulated_cutoff, WARNED, "people choose their side of the cutoff"),
    "jumping_covariate": Generator(jumping_covariate, WARNED, "something else changes at the cutoff"),
    "diverging_trends": Generator(diverging_trends, WARNED, "the treated were growing faster before"),
    "diverging_gently": Generator(diverging_gently, WARNED, "the treated were growing a little faster before"),
    "poor_synthetic_fit": Generator(poor_synthetic_fit, WARNED, "no donors resemble the treated unit"),
    "attrition": Generator(attrition, WARNED, "bad outcomes leave one arm"),
    "interference": Generator(interference, WARNED, "the treatment of some reaches others"),
    "sample_ratio_mismatch": Generator(sample_ratio_mismatch, WARNED, "the arms are not as large as stated"),
    "reverse_timing": Generator(reverse_timing, REFUSED, "the treatment came after the outcome"),
    "leaked_outcome": Generator(leaked_outcome, WARNED, "a covariate is the outcome in another form"),
    "leaked_treatment": Generator(leaked_treatment, WARNED, "a covariate is the dose"),
    "swapped_labels": Generator(swapped_labels, WARNED, "code and words of the treatment disagree"),
    "reversed_labels": Generator(reversed_labels, WARNED, "the treatment's code is the other way round than its words"),
    "hidden_confounder": Generator(hidden_confounder, WARNED, "a hidden cause, which an earlier outcome shows"),
    "nothing_to_probe": Generator(nothing_to_probe, WARNED, "a hidden cause, and nothing that could show it"),
    "false_randomisation": Generator(false_randomisation, WARNED, "declared an experiment, and none"),
    "too_small": Generator(too_small, WARNED, "forty rows and no effect"),
    "lalonde_psid": Generator(lalonde_psid, REFUSED, "trainees against a survey's population"),
    "lalonde_cps": Generator(lalonde_cps, WARNED, "trainees against a survey's population"),
    "experiment": Generator(experiment, ANSWERED, "a declared experiment", 0.5),
    "experiment_described": Generator(experiment_described, ANSWERED, "an experiment described in words", 0.5),
    "experiment_zero": Generator(experiment_zero, ANSWERED, "a precise zero", 0.0),
    "experiment_unequal": Generator(experiment_unequal, ANSWERED, "one in ten treated", 0.5),
    "experiment_bare": Generator(experiment_bare, ANSWERED, "no covariates", 0.5),
    "experiment_varying": Generator(experiment_varying, ANSWERED, "the effect varies", 0.5),
    "experiment_wide": Generator(experiment_wide, ANSWERED, "twelve covariates of no use", 0.5),
    "experiment_worded": Generator(experiment_worded, ANSWERED, "arms and places in words", 0.5),
    "experiment_binary": Generator(experiment_binary, ANSWERED, "a yes or no"),
    "experiment_skewed": Generator(experiment_skewed, ANSWERED, "a skewed outcome"),
    "experiment_clusters": Generator(experiment_clusters, ANSWERED, "whole villages assigned", 0.8),
    "experiment_in_villages": Generator(experiment_in_villages, ANSWERED, "people assigned within villages", 0.5),
    "experiment_labelled": Generator(experiment_labelled, ANSWERED, "the arm in words beside its code", 0.5),
    "experiment_three_arms": Generator(experiment_three_arms, ANSWERED, "three arms", 0.5),
    "experiment_gaps": Generator(experiment_gaps, ANSWERED, "values missing by chance", 0.5),
    "observed": Generator(observed, ANSWERED, "all causes measured, an earlier outcome at hand", 1.0),
    "observed_varying": Generator(observed_varying, ANSWERED, "the same, the effect varies", 1.0),
    "observed_treated": Generator(observed_treated, ANSWERED, "the same, asked of the treated", 1.0),
    "observed_bent": Generator(observed_bent, ANSWERED, "the same, nothing is linear", 0.9),
    "observed_dated": Generator(observed_dated, ANSWERED, "the same, the earlier outcome known by its year", 1.0),
    "cutoff": Generator(cutoff, ANSWERED, "a cutoff", 1.0),
    "cutoff_fuzzy": Generator(cutoff_fuzzy, ANSWERED, "a cutoff that changes the chance", 1.5),
    "lottery": Generator(lottery, ANSWERED, "a strong instrument", 1.0),
    "two_lotteries": Generator(two_lotteries, ANSWERED, "two strong instruments", 1.0),
    "staggered": Generator(staggered, ANSWERED, "a panel, parallel trends, staggered", 1.0),
    "block": Generator(block, ANSWERED, "a panel, parallel trends, one start", 1.0),
    "synthetic": Generator(synthetic, ANSWERED, "one treated unit that donors can mimic", 4.0),
}  # fmt: skip
