"""One look for all figures, and SVG that is the same bytes for the same picture.

Text stays text (selectable, readable by a screen reader, any script); it is laid out for a wide font, so a narrower
one on the reader's machine never overlaps. The palette is that of Okabe and Ito (2008), made for all kinds of sight.
"""

from __future__ import annotations

import io
import re
import warnings
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from causal_orchestrator.errors import InputError
from causal_orchestrator.question import shown

BLUE, VERMILION, GREEN, ORANGE, SKY, PURPLE = "#0072B2", "#D55E00", "#009E73", "#E69F00", "#56B4E9", "#CC79A7"
INK, MUTED, GRID = "#1f2933", "#5b6672", "#e3e7eb"
TREATED, CONTROL = VERMILION, BLUE

WIDTH = 5.6  # inches; at this width the text is still readable on a phone

STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "causal-orchestrator",
    "text.parse_math": False,  # a dollar sign in a name is a dollar sign
    "font.family": "DejaVu Sans",
    "font.size": 11.5,
    "axes.titlesize": 12,
    "axes.titlelocation": "left",
    "axes.labelsize": 11.5,
    "axes.labelcolor": INK,
    "axes.edgecolor": "#b8c0c8",
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "text.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 10.5,
    "lines.linewidth": 1.8,
    "figure.facecolor": "#ffffff",
    "axes.unicode_minus": True,
}

SVG = "http://www.w3.org/2000/svg"
XLINK = "http://www.w3.org/1999/xlink"
ElementTree.register_namespace("", SVG)

ELEMENTS = frozenset(("svg", "g", "defs", "path", "use", "clipPath", "rect", "circle", "text", "tspan", "image",
                      "title", "desc", "linearGradient", "stop", "polygon", "line"))  # fmt: skip
PRESENTATION = frozenset((
    "fill", "fill-opacity", "fill-rule", "stroke", "stroke-width", "stroke-opacity", "stroke-dasharray",
    "stroke-dashoffset", "stroke-linecap", "stroke-linejoin", "stroke-miterlimit", "opacity", "font-size",
    "font-weight", "font-style", "text-anchor", "clip-path", "clip-rule", "image-rendering", "stop-color",
))  # fmt: skip
ATTRIBUTES = PRESENTATION | {
    "id", "d", "x", "y", "x1", "x2", "y1", "y2", "cx", "cy", "r", "width", "height", "viewBox", "transform", "points",
    "offset", "href", "font-family", "preserveAspectRatio", "role", "aria-labelledby", "version",
}  # fmt: skip
FONTS = "'DejaVu Sans', Verdana, 'Segoe UI', system-ui, sans-serif"
_NUMBER = re.compile(r"-?\d+\.\d{3,}")
_SAFE_NAME = re.compile(r"[a-z0-9_]+")


@dataclass(frozen=True)
class Drawing:
    """A drawn figure with its caption and what it shows in words for those who cannot see it."""

    figure: Figure
    caption: str
    alt: str


@contextmanager
def style() -> Iterator[None]:
    """Apply the house's look, and nothing of the machine's own settings, while a figure is drawn and rendered."""
    with warnings.catch_warnings(), mpl.rc_context():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        mpl.rcdefaults()
        mpl.rcParams.update(STYLE)
        yield


def sheet(height: float, *, width: float = WIDTH, rows: int = 1, columns: int = 1, **grid: Any) -> tuple[Figure, Any]:
    """Return an empty figure of `height` inches with its axes (one, or an array of them)."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(rows, columns, **grid)


def horizontal(axes: Axes) -> None:
    """Leave only the vertical grid lines, as a chart of rows needs."""
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)


def listed(axes: Axes, names: Sequence[str]) -> None:
    """Name the rows of a chart of rows, the first on top, with room for at least two."""
    axes.set_yticks(range(len(names)), list(names))
    axes.set_ylim(max(len(names), 2) - 0.4, -0.6)
    horizontal(axes)


def plain(axes: Axes, which: str = "x") -> None:
    """Write the axis' numbers as people write them."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))


def number(value: float) -> str:
    """Return a tick's number: thousands separated, no needless digits, a true minus sign."""
    text = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return text.replace("-", "−")


def render(drawing: Drawing, *, name: str, title: str) -> bytes:
    """Return the figure as clean SVG with `title` and the drawing's words in it.

    Raises
    ------
    InputError
        If the name is not one that can be an identifier and a file.
    """
    buffer = io.BytesIO()
    FigureCanvasSVG(drawing.figure).print_svg(  # type: ignore[no-untyped-call]
        buffer, metadata={"Date": None, "Creator": None, "Format": None, "Type": None}
    )
    return clean(buffer.getvalue(), name=name, title=title, description=drawing.alt)


def clean(svg: bytes, *, name: str, title: str | None = None, description: str | None = None) -> bytes:
    """Rebuild an SVG from what is allowed in one: shapes, text and our own pictures, no style, script or outside link.

    Style becomes attributes, so that a page's content policy may forbid inline style; every ID gets `name` in front,
    so that several figures can stand in one page.

    Raises
    ------
    InputError
        If the bytes are no SVG, declare entities, or the name is not made of letters, digits and underscores.
    """
    if not _SAFE_NAME.fullmatch(name) or b"<!ENTITY" in svg:
        raise InputError(f"{name!r} cannot be cleaned as a figure", code="FIGURE_INVALID")
    try:
        source = ElementTree.fromstring(svg)  # noqa: S314  (entities were refused above)
    except ElementTree.ParseError as exc:
        raise InputError(f"figure {name!r} is not SVG: {exc}", code="FIGURE_INVALID") from exc
    root = _rebuild(source, name)
    if root is None or _local(root.tag) != "svg":
        raise InputError(f"figure {name!r} is not SVG", code="FIGURE_INVALID")
    root.attrib.update({"font-family": FONTS, "stroke-linejoin": "round", "stroke-linecap": "butt", "role": "img"})
    for tag, text in (("desc", description), ("title", title)):
        if text is not None:
            element = ElementTree.Element(f"{{{SVG}}}{tag}", {"id": f"{name}-{tag}"})
            element.text = shown(text, 2000)
            root.insert(0, element)
    if title is not None:
        root.set("aria-labelledby", f"{name}-title {name}-desc" if description is not None else f"{name}-title")
    return bytes(ElementTree.tostring(root, encoding="utf-8")) + b"\n"


def _rebuild(element: ElementTree.Element, name: str) -> ElementTree.Element | None:
    tag = _local(element.tag)
    if tag not in ELEMENTS:
        return None
    copy = ElementTree.Element(f"{{{SVG}}}{tag}", _attributes(element, tag, name))
    if tag in ("text", "tspan", "title", "desc"):
        copy.text = element.text
        copy.tail = (element.tail or "").strip() or None
    for child in element:
        kept = _rebuild(child, name)
        if kept is not None:
            copy.append(kept)
    return copy


def _attributes(element: ElementTree.Element, tag: str, name: str) -> dict[str, str]:
    found = {_local(key): value for key, value in element.attrib.items()}
    for part in found.pop("style", "").split(";"):
        key, _, value = part.partition(":")
        if key.strip() in PRESENTATION:
            found[key.strip()] = value.strip()
    kept = {key: _value(key, value, name) for key, value in found.items() if key in ATTRIBUTES}
    href = kept.get("href", "#")
    if not href.startswith("#") and not (tag == "image" and href.startswith("data:image/png;base64,")):
        del kept["href"]
    return {key: value for key, value in kept.items() if "url(" not in value or value.startswith(f"url(#{name}-")}


def _value(key: str, value: str, name: str) -> str:
    if key == "id":
        return _prefixed(value, name)
    if key == "href":
        return "#" + _prefixed(value[1:], name) if value.startswith("#") else re.sub(r"\s", "", value)
    if key == "aria-labelledby":
        return " ".join(_prefixed(part, name) for part in value.split())
    if value.startswith("url(#"):
        return f"url(#{_prefixed(value[5:-1], name)})"
    if key in ("d", "transform", "x", "y", "points"):
        return " ".join(_NUMBER.sub(lambda found: f"{float(found[0]):.2f}", value).split())
    return value


def _prefixed(identifier: str, name: str) -> str:
    return identifier if identifier.startswith(f"{name}-") else f"{name}-{identifier}"


def _local(tag: object) -> str:
    """Return a tag without its namespace; comments and instructions have none."""
    return tag.rsplit("}", 1)[-1] if isinstance(tag, str) else ""
