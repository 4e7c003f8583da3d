"""Words of column names and free text: splitting, stems, likeness, and the sentences that speak of a column."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import lru_cache

STOPWORDS = frozenset(
    [
        "a",
        "an",
        "the",
        "of",
        "on",
        "in",
        "to",
        "for",
        "and",
        "or",
        "by",
        "with",
        "from",
        "at",
        "as",
        "is",
        "are",
        "was",
        "were",
        "be",
        "been",
        "being",
        "do",
        "does",
        "did",
        "will",
        "would",
        "can",
        "could",
        "may",
        "might",
        "should",
        "has",
        "have",
        "had",
        "not",
        "no",
        "if",
        "whether",
        "that",
        "this",
        "these",
        "those",
        "it",
        "its",
        "their",
        "his",
        "her",
        "they",
        "he",
        "she",
        "we",
        "who",
        "which",
        "what",
        "how",
        "when",
        "where",
        "why",
        "into",
        "over",
        "under",
        "than",
        "then",
        "there",
        "per",
        "via",
        "any",
        "all",
        "each",
        "some",
        "such",
        "other",
        "more",
        "most",
        "across",
        "among",
        "between",
        "within",
        "during",
        "new",
        "our",
        "your",
        "individual",
        "individuals",
        "people",
        "person",
        "persons",
        "status",
        "variable",
        "binary",
        "dataset",
        "data",
        "indicator",
        "indicates",
        "indicating",
        "represents",
        "representing",
        "level",
        "levels",
        "value",
        "values",
    ]
)

# Abbreviations that are usual in data sets of all fields.
ABBREVIATIONS = {
    "educ": "education", "edu": "education", "inc": "income", "emp": "employment", "unemp": "unemployment",
    "exp": "experience", "exper": "experience", "hh": "household", "pct": "percent", "perc": "percent",
    "trt": "treatment", "tx": "treatment", "treat": "treatment", "trmt": "treatment", "tr": "treatment",
    "marr": "married", "hisp": "hispanic", "pop": "population", "govt": "government", "gov": "government",
    "prog": "program", "programme": "program", "interv": "intervention", "vacc": "vaccination", "med": "medication",
    "mort": "mortality", "hosp": "hospital", "wt": "weight", "ht": "height", "bp": "bloodpressure", "qtr": "quarter",
    "yr": "year", "mth": "month", "num": "number", "avg": "average", "amt": "amount", "temp": "temperature",
    "dist": "distance", "cust": "customer", "acct": "account", "conv": "conversion", "rev": "revenue",
    "dept": "department", "univ": "university", "resp": "response", "outc": "outcome", "grp": "group",
    "ctrl": "control", "exptl": "experimental", "subj": "subject", "pt": "patient", "dob": "birthdate",
    "smk": "smoking", "elig": "eligible", "enrol": "enroll", "dem": "democracy", "rep": "republican",
}  # fmt: skip

# ``lwage`` and ``lnincome`` are logarithms of what follows.
_LOGARITHMS = {
    prefix + short: ABBREVIATIONS.get(short, short)
    for prefix in ("l", "ln", "log")
    for short in [
        "wage",
        "income",
        "earn",
        "earnings",
        "price",
        "sales",
        "output",
        "gdp",
        "hours",
        "rev",
        "pop",
        "emp",
        "inc",
        "consumption",
        "cost",
        "spend",
    ]
    if prefix + short != "learn"
}

# Words of everyday language that stand for the same thing in questions and in column names.
SYNONYMS = (
    "income earnings wage salary pay revenue",
    "job work employment occupation labor labour",
    "education schooling school degree",
    "student pupil learner",
    "program intervention initiative scheme policy treatment campaign",
    "death mortality die survival fatality",
    "vote voter voting turnout ballot",
    "score grade gpa test exam performance achievement",
    "participate attend enroll join complete take uptake undergo",
    "receive get given obtain",
    "medication drug medicine pill",
    "price cost expense",
    "spend expenditure consumption spending",
    "house home housing dwelling",
    "buy purchase sale order",
    "firm company business enterprise",
    "child kid",
    "car vehicle",
    "sick ill disease illness",
    "tax credit",
    "invite invitation encouragement encourage offer",
    "recover recovery heal",
    "satisfaction happiness",
    "volume amount quantity",
    "online electronic digital virtual",
    "marketing advertisement ad advertising promotion",
    "email mail mailer letter",
    "visit visitor traffic",
    "crime arrest offense offence",
    "gain increase change growth difference",
)

_MARKS = " '\"().,:;"
TITLE = 12  # words of a definition that are read as a name

_WORD = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|\d+|[^\W\d_]+")
_SUFFIXES = (
    "ization", "ation", "ition", "ment", "ing", "ness", "ity", "ion", "ied", "ie", "ed", "er", "ee", "or", "ant", "ive",
    "al", "ly", "e", "y",
)  # fmt: skip
_PREFIXES = ("dis", "non")


def words(text: str) -> list[str]:
    """Split text or a column's name into lower-case words: at blanks, marks, digits and humps (``re78``, ``ageYears``).

    Abbreviations that are usual in data sets are written out.
    """
    parts = [part.lower() for part in _WORD.findall(text.replace("'s", "").replace("’s", ""))]
    return [ABBREVIATIONS.get(part) or _LOGARITHMS.get(part, part) for part in parts]


@lru_cache(maxsize=20_000)
def stem(word: str) -> str:
    """Cut a word's endings off, so that *training*, *trained* and *trains* meet; at least three letters stay."""
    if word.endswith("s") and not word.endswith(("ss", "us", "is")) and len(word) > 3:
        word = word[:-2] if re.search(r"(?:s|x|z|ch|sh)es$", word) else word[:-1]
    for suffix in _SUFFIXES:
        if word.endswith(suffix) and len(word) - len(suffix) >= (3 if len(suffix) > 1 else 4):
            word = word[: -len(suffix)]
            break
    return word[:-1] if len(word) > 4 and word[-1] == word[-2] else word


@lru_cache(maxsize=20_000)
def stems(text: str) -> tuple[str, ...]:
    """Return the stems of the telling words of `text` (no stop words, no numbers), in order, repeats included."""
    return tuple(stem(word) for word in words(text) if word not in STOPWORDS and not word.isdigit())


_GROUPS = [frozenset(stem(word) for word in group.split()) for group in SYNONYMS]


@lru_cache(maxsize=200_000)
def likeness(a: str, b: str) -> float:
    """Say how alike two stems are, in [0, 1]: equal, same beginning, same meaning, or a slip of the pen."""
    if a == b:
        return 1.0
    short, long = sorted((a, b), key=len)
    if len(short) >= 4 and long.startswith(short):
        return 0.9
    if any(long == prefix + short for prefix in _PREFIXES):
        return 0.8
    if any(a in group and b in group for group in _GROUPS):
        return 0.7
    if len(short) >= 5 and SequenceMatcher(None, a, b).ratio() >= 0.85:
        return 0.7
    return 0.0


@dataclass(frozen=True)
class Lexicon:
    """The columns as words: `names`, `titles` and `labels` map a column to stems, `passages` to the defining text.

    A title is a short definition, which names the column as well as its name does; labels are all the words of its
    definition. `weights` says how telling a stem is: one that stands in every name says little.
    """

    names: Mapping[str, tuple[str, ...]]
    titles: Mapping[str, tuple[str, ...]]
    labels: Mapping[str, tuple[str, ...]]
    passages: Mapping[str, str]
    weights: Mapping[str, float]


def lexicon(columns: Sequence[str], description: str, dictionary: Mapping[str, str]) -> Lexicon:
    """Collect for each column the words of its name, its dictionary entry and the text that defines it."""
    defined = passages(columns, description)
    full = {name: " ".join(filter(None, (dictionary.get(name, ""), defined.get(name, "")))) for name in columns}
    names = {name: stems(name) or tuple(words(name)) for name in columns}
    labels = {name: stems(full[name]) for name in columns}
    titles = {name: stems(dictionary[name])[:TITLE] for name in columns if dictionary.get(name)}
    titles |= {n: labels[n] for n in columns if n not in titles and 0 < len(labels[n]) <= TITLE / 2}
    counts: dict[str, int] = {}
    for name in columns:
        for word in set(names[name]):
            counts[word] = counts.get(word, 0) + 1
    weights = {word: 1.0 / count**0.5 for word, count in counts.items()}
    return Lexicon(names, titles, labels, full, weights)


def sentences(text: str) -> list[str]:
    """Cut text into sentences (a point inside a number or an abbreviation such as ``U.S.`` does not end one)."""
    parts = re.split(r"(?<=[a-z0-9)\]'\"’%][.!?;])\s+(?=[A-Z'\"‘“])|\n+", text)
    return [part.strip() for part in parts if part.strip()]


def passages(columns: Sequence[str], description: str) -> dict[str, str]:
    """Find for each column the part of the description that defines it.

    It runs from the mention of the name to the mention of the next one, within a sentence; where the name stands in
    brackets after its label, the label before it counts too.
    """
    found: dict[str, list[str]] = {}
    for sentence in sentences(description):
        places = sorted(_mentions(columns, sentence))
        for k, (start, end, name) in enumerate(places):
            following = places[k + 1][0] if k + 1 < len(places) else len(sentence)
            piece = sentence[end:following]
            if (start and sentence[start - 1] in "(") or sentence[max(0, start - 2) : start] in ("('", '("'):
                previous = places[k - 1][1] if k else 0
                label = sentence[previous:start].rpartition(")")[2]
                piece = f"{label.strip(_MARKS)} {piece.strip(_MARKS)}"
            found.setdefault(name, []).append(piece.strip(_MARKS))
    return {name: " ".join(pieces) for name, pieces in found.items()}


def _mentions(columns: Iterable[str], sentence: str) -> list[tuple[int, int, str]]:
    """Return (start, end, column) of every literal mention; a plain word counts only in quotes or before a bracket."""
    hits: list[tuple[int, int, str]] = []
    lowered = sentence.lower()
    for name in sorted(columns, key=len, reverse=True):
        if name.lower() not in lowered:
            continue
        plain = name.isalpha() and name.islower()
        pattern = rf"(?<![\w.-]){re.escape(name)}s?(?![\w-])"
        for match in re.finditer(pattern, sentence, re.IGNORECASE):
            start, end = match.span()
            quoted = sentence[max(0, start - 1) : start] in ("'", '"', "`", "‘", "“")
            if plain and not quoted and not re.match(r"\s*[(:=]", sentence[end:]):
                continue
            if all(end <= s or start >= e for s, e, _ in hits):
                hits.append((start, end, name))
    return hits


def match(phrase: str, column: str, lexicon: Lexicon) -> float:
    """Say how well a phrase names a column, in [0, 1].

    Half of it is how much of the column's name the phrase says, half how much of the phrase the column's name and
    definition say; a phrase that holds the name itself counts fully.
    """
    if mentions(phrase, column):
        return 1.0
    said = tuple(dict.fromkeys((*stems(phrase), *stems(_joined(phrase)))))
    name = lexicon.names[column]
    if not said or not name:
        return 0.0
    label = lexicon.labels[column]
    title = lexicon.titles.get(column, ())
    # A long title says the main thing first.
    covered = max(
        _covered(name, said, lexicon), 0.9 * _covered(title, said, lexicon), 0.8 * _covered(title[:2], said, lexicon)
    )
    heard = sum(
        max([likeness(s, word) for word in name] + [0.8 * likeness(s, word) for word in label], default=0.0)
        for s in said
    ) / len(said)
    return 0.5 * covered + 0.5 * heard


def _covered(name: Sequence[str], said: Sequence[str], lexicon: Lexicon) -> float:
    """Return the weighted share of a name's words that the phrase says."""
    weight = [lexicon.weights.get(word, 1.0) for word in name]
    total = sum(w * max(likeness(word, s) for s in said) for w, word in zip(weight, name, strict=True))
    return total / sum(weight) if name else 0.0


def _joined(phrase: str) -> str:
    """Return the hyphenated words of a phrase written as one (*take-up* as *takeup*)."""
    return " ".join(re.findall(r"\w+", " ".join(re.findall(r"\w+(?:-\w+)+", phrase)).replace("-", "")))


def mentions(phrase: str, column: str) -> bool:
    """Say whether a phrase holds the column's name as it is written in the data."""
    if column.lower() not in phrase.lower() or not _telling(column):
        return False
    return re.search(rf"(?<!\w){re.escape(column)}(?!\w)", phrase, re.IGNORECASE) is not None


def _telling(column: str) -> bool:
    return (len(column) >= 3 and column.lower() not in STOPWORDS) or column in {"y", "Y", "T", "D", "W"}
