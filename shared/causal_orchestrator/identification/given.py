"""Read a causal graph that a person gave: DOT, GML or an edge list. Names are data: nothing is evaluated."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from causal_orchestrator.errors import InputError

MAX_EDGES = 5_000

_TOKEN = re.compile(
    r"""\s+ | //[^\n]* | /\*.*?\*/ | (?P<quoted>"(?:[^"\\]|\\.)*") | (?P<edge><->|->|--|<-|→) | (?P<mark>[{}\[\];,=])
      | (?P<word>(?:-(?=[0-9.]))?[^\s{}\[\];,="<>→-]+(?:-(?![->])[^\s{}\[\];,="<>→-]+)*)""",
    re.VERBOSE | re.DOTALL,
)
_HEADER = re.compile(r"^\s*(?:strict\s+)?(?P<kind>digraph|graph|dag)\b[^{\[]*(?P<open>[{\[])", re.IGNORECASE)
_LATENT = frozenset({"latent", "unobserved"})


@dataclass(frozen=True)
class GivenGraph:
    """A directed graph as it was written down.

    `edges` are cause and effect; `confounded` are pairs joined by ``<->``, that is by a hidden common cause; `latent`
    are the nodes that the graph itself declares as not measured.
    """

    nodes: tuple[str, ...]
    edges: tuple[tuple[str, str], ...]
    confounded: tuple[tuple[str, str], ...] = ()
    latent: tuple[str, ...] = ()


def parse(text: str) -> GivenGraph:
    """Read a graph in DOT (also dagitty's ``dag {…}``), GML, or one edge a line (``a -> b``, ``a,b`` or ``a b``).

    Raises
    ------
    InputError
        If the text is none of these, or an edge has no direction (``GRAPH_INVALID``).
    """
    header = _HEADER.match(text)
    if header is None:
        graph = _edge_list(text)
    elif header["open"] == "[":
        graph = _gml(text)
    else:
        graph = _dot(text[header.end() :], undirected=header["kind"].lower() == "graph")
    if not graph.edges and not graph.confounded:
        raise _invalid("it has no edge; write for example 'age -> treatment'")
    if len(graph.edges) > MAX_EDGES:
        raise _invalid(f"it has {len(graph.edges)} edges; at most {MAX_EDGES} are read")
    return graph


def _invalid(what: str) -> InputError:
    return InputError(f"the causal graph cannot be read: {what}", code="GRAPH_INVALID")


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise _invalid(f"unexpected {text[at : at + 12]!r}")
        if match.lastgroup is not None:
            value = match[match.lastgroup]
            yield match.lastgroup, re.sub(r"\\(.)", r"\1", value[1:-1]) if match.lastgroup == "quoted" else value
        at = match.end()


def _build(
    nodes: Sequence[str], edges: Sequence[tuple[str, str]], confounded: Sequence[tuple[str, str]], latent: Sequence[str]
) -> GivenGraph:
    named = [*nodes, *(name for pair in (*edges, *confounded) for name in pair)]
    return GivenGraph(
        nodes=tuple(dict.fromkeys(named)),
        edges=tuple(dict.fromkeys(edges)),
        confounded=tuple(dict.fromkeys(confounded)),
        latent=tuple(dict.fromkeys(latent)),
    )


# --- DOT ----------------------------------------------------------------------------------------------------------


def _dot(body: str, *, undirected: bool) -> GivenGraph:
    """Read statements of nodes, edges and chains; attributes are skipped but for those that say "not measured"."""
    nodes: list[str] = []
    edges: list[tuple[str, str]] = []
    confounded: list[tuple[str, str]] = []
    latent: list[str] = []
    for statement, attributes in _statements(list(_tokens(body))):
        groups, arrows = _chain(statement)
        nodes += [name for group in groups for name in group]
        if not arrows and _says_latent(attributes):
            latent += groups[0]
        for left, arrow, right in zip(groups, arrows, groups[1:], strict=False):
            if arrow == "--" or undirected:
                raise _invalid("an edge has no direction; write 'a -> b'")
            pairs = [(a, b) for a in left for b in right]
            if arrow == "<->":
                confounded += pairs
            else:
                edges += [(b, a) for a, b in pairs] if arrow == "<-" else pairs
    return _build(nodes, edges, confounded, latent)


def _statements(tokens: list[tuple[str, str]]) -> Iterator[tuple[list[tuple[str, str]], list[str]]]:
    """Yield each statement's tokens and the words of its attributes; a new name without an arrow starts another."""
    current: list[tuple[str, str]] = []
    attributes: list[str] = []
    depth = 0
    closed = False
    i = 0
    while i < len(tokens):
        kind, value = tokens[i]
        if (kind, value) == ("mark", "["):
            end = next((k for k in range(i, len(tokens)) if tokens[k] == ("mark", "]")), None)
            if end is None:
                raise _invalid("'[' is not closed")
            attributes += [v.lower() for _, v in tokens[i + 1 : end]]
            i = end
        elif (kind, value) == ("mark", "}") and depth == 0:
            closed = True
            break
        elif (kind, value) == ("mark", ";") and depth == 0:
            yield from _finished(current, attributes)
            current, attributes = [], []
        elif (kind, value) == ("mark", "="):
            # A graph attribute (rankdir=LR): its name is no node.
            current, attributes = current[:-1], []
            i += 1
        else:
            depth += {"{": 1, "}": -1}.get(value, 0) if kind == "mark" else 0
            starts = kind != "edge" and value not in ("}", ",") and depth == (1 if value == "{" else 0)
            if starts and current and current[-1][0] != "edge" and current[-1] != ("mark", ","):
                yield from _finished(current, attributes)
                current, attributes = [], []
            current.append((kind, value))
        i += 1
    if not closed:
        raise _invalid("'{' is not closed")
    yield from _finished(current, attributes)


def _finished(
    tokens: list[tuple[str, str]], attributes: list[str]
) -> Iterator[tuple[list[tuple[str, str]], list[str]]]:
    # `node [shape=box]` and the like set defaults.
    if tokens and tokens[0] not in (("word", "node"), ("word", "edge"), ("word", "graph")):
        yield tokens, attributes


def _chain(tokens: list[tuple[str, str]]) -> tuple[list[list[str]], list[str]]:
    """Split ``a -> {b c} -> d`` into its groups of names and its arrows."""
    groups: list[list[str]] = [[]]
    arrows: list[str] = []
    for kind, value in tokens:
        if kind == "edge":
            arrows.append("->" if value == "→" else value)
            groups.append([])
        elif kind != "mark":
            groups[-1].append(value)
    if any(not group for group in groups):
        raise _invalid("an arrow has no node at one end")
    return groups, arrows


def _says_latent(attributes: list[str]) -> bool:
    pairs = list(zip(attributes, attributes[2:], strict=False))
    return bool(_LATENT & set(attributes)) or ("observed", "no") in pairs or ("observed", "false") in pairs


# --- GML ----------------------------------------------------------------------------------------------------------


def _gml(text: str) -> GivenGraph:
    blocks = _gml_blocks(list(_tokens(text)))
    labels = {b["id"]: b.get("label", b["id"]) for name, b in blocks if name == "node" and "id" in b}
    latent = [
        labels[b["id"]]
        for name, b in blocks
        if name == "node" and b.get("observed", "").lower() in ("no", "0", "false")
    ]
    edges = []
    for name, block in blocks:
        if name != "edge":
            continue
        ends = (block.get("source"), block.get("target"))
        if ends[0] not in labels or ends[1] not in labels:
            raise _invalid("a GML edge names a node that is not there")
        edges.append((labels[ends[0]], labels[ends[1]]))
    if any(name == "graph" and block.get("directed") == "0" for name, block in blocks):
        raise _invalid("the GML graph is not directed")
    return _build(list(labels.values()), edges, [], latent)


def _gml_blocks(tokens: list[tuple[str, str]]) -> list[tuple[str, dict[str, str]]]:
    """Return every ``name [ key value … ]`` with its own keys, in the order in which they open."""
    blocks: list[tuple[str, dict[str, str]]] = []
    stack: list[dict[str, str]] = [{}]
    key: str | None = None
    for token in tokens:
        if token == ("mark", "["):
            block: dict[str, str] = {}
            blocks.append(((key or "").lower(), block))
            stack.append(block)
            key = None
        elif token == ("mark", "]"):
            if len(stack) == 1:
                raise _invalid("']' without '['")
            stack.pop()
        elif key is None:
            key = token[1].lower()
        else:
            stack[-1][key], key = token[1], None
    if len(stack) > 1:
        raise _invalid("'[' is not closed")
    return blocks


# --- edge lists ---------------------------------------------------------------------------------------------------


def _edge_list(text: str) -> GivenGraph:
    """Read one edge a line (or between semicolons); chains such as ``a -> b -> c`` are edges each."""
    edges: list[tuple[str, str]] = []
    confounded: list[tuple[str, str]] = []
    for line in re.split(r"[\n;]+", text):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        parts = [part.strip().strip("\"'") for part in re.split(r"(<->|->|→|<-)", line)]
        if len(parts) == 1:
            parts = _pair(parts[0])
        names, arrows = parts[::2], parts[1::2]
        if not all(names):
            raise _invalid("an arrow has no node at one end")
        for left, arrow, right in zip(names, arrows, names[1:], strict=False):
            if arrow == "<->":
                confounded.append((left, right))
            else:
                edges.append((right, left) if arrow == "<-" else (left, right))
    return _build([], edges, confounded, [])


def _pair(line: str) -> list[str]:
    for separator in (",", "\t", " "):
        ends = [part.strip().strip("\"'") for part in line.split(separator) if part.strip()]
        if len(ends) == 2:
            return [ends[0], "->", ends[1]]
    raise _invalid("a line of the edge list is not 'cause -> effect'")
