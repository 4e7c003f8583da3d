"""What a person's text claims: which phrase causes which, what was randomised, where a rule has its cutoff."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from causal_orchestrator.profiling.text import sentences


@dataclass(frozen=True)
class Claim:
    """A sentence read as *cause* affects *effect*; `trust` in [0, 1] says how plain the wording is."""

    cause: str
    effect: str
    trust: float


@dataclass(frozen=True)
class Rule:
    """A sentence that assigns by a threshold: the sentence, the number, and whether the treated lie above it."""

    sentence: str
    cutoff: float
    above: bool | None


_NOUNS = r"(?:causal\s+)?(?:effects?|impacts?|influences?|consequences?|benefits?|role|effectiveness|efficacy)"
_PHRASE = r"(?P<cause>[^.;?!]+?)"
_CUT = re.compile(
    r"[,;?!:]|\.(?:\s|$)|\b(?:considering|while|using|particularly|especially|focusing|taking into account|as well as|"
    r"and, ?ultimately|compared|controlling|after accounting|adjusting)\b",
    re.IGNORECASE,
)
_PATTERNS = (
    (rf"\b{_NOUNS}\s+(?:that\s+)?of\s+{_PHRASE}\s+(?:up)?on\s+(?P<effect>.+)", 1.0),
    (rf"\b{_NOUNS}\s+of\s+{_PHRASE}\s+(?:in|for|at|towards?|against)\s+(?P<effect>\w+ing\s.+)", 0.7),
    (rf"\b{_NOUNS}\s+(?:that\s+)?{_PHRASE}\s+(?:has|have|had)\s+on\s+(?P<effect>.+)", 1.0),
    (rf"(?P<cause>[^.;,]+?)'s?\s+(?:\w+\s+)?{_NOUNS}\s+(?:on|against)\s+(?P<effect>.+)", 0.9),
    (r"\b(?:relationship|association|link|connection)\s+between\s+(?P<cause>[^.;?!]+?)\s+and\s+(?P<effect>.+)", 0.6),
    (r"\binstruments?\s+(?:variables?\s+)?for\s+(?P<cause>[^.;,?!]+)(?P<effect>)", 0.9),
    (r"(?P<effect>[^.;?!]+?)\s+(?:is|are|was|were|be)?\s*(?:affected|influenced|impacted|driven|caused|changed)\s+by\s+(?P<cause>.+)", 0.9),
    (r"\b(?:aim\w*|intend\w*|designed|meant|seek\w*)\s+(?:at|to)\s+(?P<effect>[^.;,]+)(?P<cause>)", 0.5),
)  # fmt: skip

_VERBS = (
    r"affect|influence|impact|cause|chang|alter|increas|rais|boost|improv|enhanc|strengthen|promot|foster|rais|lift|"
    r"reduc|lower|decreas|cut|diminish|prevent|limit|worsen|harm|hurt|damage|help|benefit|determin|driv|shap|speed|"
    r"accelerat|lengthen|shorten|rais|lead|result|contribut|make|mak|encourag|discourag|save|extend|prolong|protect"
)
_VERB = re.compile(rf"\b(?:{_VERBS})(?:e|es|s|ed|d|ing|en)?\b(?:\s+(?:to|in|from|against|on))?", re.IGNORECASE)
_AUXILIARY = re.compile(
    r"^(?:and\s+|but\s+|so\s+)?(?:how\s+(?:much\s+|strongly\s+|far\s+)?)?(?:whether|if|does|do|did|will|would|can|could|"
    r"may|might|should|has|have|is|are|what)\b\s*",
    re.IGNORECASE,
)
_QUESTION = re.compile(r"\b(?:whether|if)\b|^(?:how|does|do|did|will|would|can|could|has|have|is|are)\b", re.IGNORECASE)


def claims(text: str, *, better: Callable[[Claim], float]) -> list[Claim]:
    """Read the causal claims in `text`, at most one for each sentence and kind of wording.

    A sentence with several verbs can be split in several ways; `better` says how well a split fits the columns and the
    best one is taken.
    """
    found: list[Claim] = []
    for sentence in sentences(text):
        for pattern, trust in _PATTERNS:
            hit = re.search(pattern, sentence, re.IGNORECASE)
            if hit and not (not hit["cause"] and re.search(rf"\b{_NOUNS}\b", hit["effect"], re.IGNORECASE)):
                found.append(Claim(_tidy(hit["cause"]), _tidy(hit["effect"]), trust))
        splits = _splits(sentence)
        if splits:
            found.append(max(splits, key=better))
    return found


def _splits(sentence: str) -> list[Claim]:
    asked = _QUESTION.search(sentence)
    if not asked:
        return []
    tail = sentence[asked.start() :]
    tail = _AUXILIARY.sub("", tail)
    splits: list[Claim] = []
    for verb in _VERB.finditer(tail):
        cause, effect = tail[: verb.start()], tail[verb.end() :]
        before, by, after = effect.partition(" by ")
        if by:
            splits.append(Claim(_tidy(after), _tidy(before), 0.8))
        splits.append(Claim(_tidy(cause), _tidy(effect), 0.9))
    return splits


def _tidy(phrase: str) -> str:
    """Keep the first clause of a phrase, at most sixteen words of it."""
    clause = _CUT.split(phrase.strip(" '\""), maxsplit=1)[0]
    return " ".join(clause.split()[:16])


_RANDOM = re.compile(
    r"\brandomi[sz]ed\b(?!\s+(?:phone|sample|survey))|\brandom(?:ly)?[- ](?:assign|allocat|treat|offer|invit|exposed|given)|"
    r"\brandom(?:ly)?\s+(?:assignment|allocation)|\bRCT\b|\bA/B[- ]test|\brandomi[sz]ation\b|"
    r"\brandomly\s+(?:selected|chosen|picked|drawn)\b[^.;]*\b(?:receiv|sent|invit|offer|given|assign|treat|expos|get)|"
    r"\b(?:invit|offer|assign|sent|gave|given)\w*\b[^.;]*\brandomly\s+(?:selected|chosen|picked)|"
    r"\b(?:by|through|via|in)\s+(?:a\s+)?(?:random\s+)?lotter(?:y|ies)\b|\bat\s+random\b",
    re.IGNORECASE,
)
_NOT_RANDOM = re.compile(
    r"\b(?:not|non|never|neither|without|no|quasi|as[- ]if|instead of|rather than|lack of|absence of|cannot be)\b"
    r"[\s-]*(?:\w+[\s-]+){0,3}?(?:random|RCT)|\b(?:random\s+(?:sample|forest|effects?|walk|error|noise)\b)|"
    r"\bmissing\s+at\s+random\b|\bif\s+(?:it|this|they)\s+(?:were|had been)\s+random",
    re.IGNORECASE,
)


def random_sentences(text: str) -> list[str]:
    """Return the sentences that say that something was assigned at random (not that a sample was drawn at random)."""
    plain = re.sub(r"\bwhether or not\b", "whether", text, flags=re.IGNORECASE)
    return [s for s in sentences(plain) if _RANDOM.search(_NOT_RANDOM.sub(" ", s))]


def denies_randomness(text: str) -> bool:
    """Say whether the text states that assignment was not random, or that the data are observational."""
    text = re.sub(r"\bwhether or not\b", "whether", text, flags=re.IGNORECASE)
    return bool(
        re.search(r"\bobservational\b|\bnon-?experimental\b|\bself-selected\b|\bquasi-?experiment", text, re.IGNORECASE)
        or re.search(r"\b(?:not|non|never)\b[\s-]*(?:\w+[\s-]+){0,3}?random(?:i[sz]ed|ly)", text, re.IGNORECASE)
    )


_NUMBER = r"(?P<number>-?\$?\d[\d,]*(?:\.\d+)?)"
_ABOVE = r"above|over|exceed(?:s|ed|ing)?|greater than|more than|higher than|at least|no less than|beyond|>=?|≥"
_BELOW = r"below|under|less than|lower than|at most|no more than|fewer than|not exceeding|<=?|≤"
_RULES = (
    (re.compile(rf"\b(?:cut-?off|threshold|cut point|passing mark|limit)\b[^.;\d]{{0,40}}?{_NUMBER}", re.IGNORECASE), None),
    (re.compile(rf"{_NUMBER}[^.;\d]{{0,15}}?\b(?:cut-?off|threshold)\b", re.IGNORECASE), None),
    (re.compile(rf"(?:\b|\s)(?:{_ABOVE})\s+(?:a |an |the |of |age )?{_NUMBER}", re.IGNORECASE), True),
    (re.compile(rf"(?:\b|\s)(?:{_BELOW})\s+(?:a |an |the |of |age )?{_NUMBER}", re.IGNORECASE), False),
    (re.compile(rf"{_NUMBER}\s*%?\s*(?:points?|years?)?\s*(?:or|and)\s+(?:above|over|more|better|higher|older|greater|up)", re.IGNORECASE), True),
    (re.compile(rf"{_NUMBER}\s*%?\s*(?:points?|years?)?\s*(?:or|and)\s+(?:below|under|less|worse|lower|younger|fewer)", re.IGNORECASE), False),
)  # fmt: skip
_ASSIGNS = re.compile(
    r"\b(?:eligib|qualif|assign|receiv|enrol|target|priorit|admit|admission|award|treated|grant|given|cut-?off|"
    r"threshold|entitle|offer|win|won|elected|pass|discontinuity|allowed|legal)\w*",
    re.IGNORECASE,
)


def rules(text: str) -> list[Rule]:
    """Read the sentences that say who is treated by a threshold on a number."""
    found: list[Rule] = []
    for sentence in sentences(text):
        if not _ASSIGNS.search(sentence):
            continue
        for pattern, above in _RULES:
            hit = pattern.search(sentence)
            if hit:
                number = float(hit["number"].replace(",", "").replace("$", ""))
                found.append(Rule(sentence, number, above))
                break
    return found
