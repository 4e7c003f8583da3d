"""How numbers and foreign text are written in documents: rounded for reading, escaped for where they stand."""

from __future__ import annotations

import math

from causal_orchestrator.estimators import ESTIMATORS
from causal_orchestrator.question import shown
from causal_orchestrator.sensitivity import SENSITIVITY

NOT_A_NUMBER = "–"

# Everything that Markdown, HTML or MathJax may take for markup; as character references none of them does.
_MARKUP = {ord(c): f"&#{ord(c)};" for c in "&<>\"'`*_{}[]#|~$\\!@:^="}


def number(value: float | None) -> str:
    """Return a number as people write it: about three significant digits, thousands separated, a true minus sign."""
    if value is None or not math.isfinite(value):
        return NOT_A_NUMBER
    size = abs(value)
    if size >= 100 or value == int(value):
        text = f"{value:,.0f}" if size < 1e15 else f"{value:.3g}"
    elif size >= 10:
        text = f"{value:.1f}"
    elif size >= 1:
        text = f"{value:.2f}"
    elif size >= 1e-4:
        text = f"{value:.{2 - math.floor(math.log10(size))}f}"
    else:
        text = f"{value:.2e}"
    if "." in text and "e" not in text:
        text = text.rstrip("0").rstrip(".")
    return text.replace("-", "−")


def p_value(value: float | None) -> str:
    """Return a p-value with three decimals, or that it is smaller."""
    if value is None:
        return NOT_A_NUMBER
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def interval(lower: float | None, upper: float | None) -> str:
    """Return an interval, with a dash for a limit that does not exist."""
    if lower is None and upper is None:
        return NOT_A_NUMBER
    return f"{number(lower)} to {number(upper)}"


def percent(value: float | None) -> str:
    """Return a share as a percentage."""
    return NOT_A_NUMBER if value is None else f"{100 * value:.3g} %"


def spoken(name: str) -> str:
    """Return a key of ours as words."""
    return name.replace("_", " ")


def titled(key: str) -> str:
    """Return a method's or an analysis' own title where it has one, else its key as words."""
    spec = ESTIMATORS.get(key) or SENSITIVITY.get(key)
    return (spec.title if spec else "") or spoken(key)


def markdown(text: str, width: int = 4000) -> str:
    """Return text that Markdown shows as it is: no markup, link, picture, mathematics or HTML comes of it.

    A list marker at the start and addresses that some renderers link by themselves are disarmed too.
    """
    safe = shown(text, width).strip().translate(_MARKUP).replace("www.", "www&#46;").replace("WWW.", "WWW&#46;")
    return f"&#{ord(safe[0])};{safe[1:]}" if safe[:1] in tuple("-+0123456789") else safe
