"""Real sample data sets, from the package ``causaldata``, with the command that analyses each."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path

from causal_orchestrator.errors import InputError


@dataclass(frozen=True)
class Example:
    """A sample data set: the module of `causaldata` that has it, what it is, and how to ask about it."""

    module: str
    title: str
    command: str


EXAMPLES = {
    "lalonde": Example("nsw_mixtape", "NSW job training experiment (LaLonde 1986; Dehejia and Wahba 1999), 445 men", "--treatment treat --outcome re78 --covariates age,educ,black,hisp,marr,nodegree,re74,re75 --randomized"),
    "nhefs": Example("nhefs_complete", "Smoking cessation and weight (Hernán and Robins), 1,566 people", "--treatment qsmk --outcome wt82_71 --covariates sex,age,race,education,smokeintensity,smokeyrs,exercise,active,wt71"),
    "thornton": Example("thornton_hiv", "Cash incentives to learn HIV results (Thornton 2008), 4,820 people", "--treatment any --outcome got --covariates distvct,age,hiv2004,tb --randomized"),
}  # fmt: skip


def write(name: str, path: Path) -> Example:
    """Write a sample data set as CSV and return what it is.

    Raises
    ------
    InputError
        If there is no such example (``EXAMPLE_UNKNOWN``) or the file cannot be written (``FILE_UNWRITABLE``).
    """
    if name not in EXAMPLES:
        raise InputError(f"there is no example {name!r}; there are {', '.join(EXAMPLES)}", code="EXAMPLE_UNKNOWN")
    example = EXAMPLES[name]
    frame = importlib.import_module(f"causaldata.{example.module}").load_pandas().data
    try:
        frame.to_csv(path, index=False)
    except OSError as exc:
        raise InputError(f"{str(path)!r} cannot be written: {exc.strerror}", code="FILE_UNWRITABLE") from exc
    return example
