"""Language models: who can be asked, and in which order.

A provider makes one HTTP call and reads its answer strictly; `Ladder` puts a first and a second model behind retries,
time and circuit breakers; `egress` sees every prompt before it leaves; `replies` records and replays. Nothing is
imported or connected before the first question.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Mapping
from functools import partial
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from causal_orchestrator.errors import CausalError, InputError, ModelUnavailable
from causal_orchestrator.models.answers import MAX_TOKENS, Answer, Provider, Usage
from causal_orchestrator.models.ladder import Ladder, Surroundings
from causal_orchestrator.models.replies import Recording, Replaying, fingerprint
from causal_orchestrator.settings import Settings

Secret = Callable[[str], str]

OFFLINE = "offline"
# Planner → the secret that holds its key (None: application default credentials).
KEYS: Mapping[str, str | None] = {
    "gemini": None,
    "gemini-key": "GEMINI_API_KEY",
    "claude": "ANTHROPIC_API_KEY",
    "openai": "OPENAI_API_KEY",
}


def connect(
    settings: Settings, secret: Secret, *, around: Surroundings | None = None
) -> Ladder | Recording | Replaying | None:
    """Return the models that the settings name, the first and the second, or None for the offline planner.

    Parameters
    ----------
    secret : callable
        Gives a secret by its name when it is needed (raises NotFound).

    Raises
    ------
    InputError
        ``SETTING`` if the settings name no such planner, no model, or an address in the clear.
    """
    if settings.planner == OFFLINE:
        return None
    if settings.planner not in KEYS:
        raise InputError(f"there is no planner {settings.planner[:64]!r}; there are {OFFLINE}, {', '.join(KEYS)}", code="SETTING")  # fmt: skip
    if settings.model_replay is not None:
        return Replaying(settings.model_replay, planner=settings.planner)
    if not settings.model:
        raise InputError("CAUSAL_PLANNER is set, and CAUSAL_MODEL does not say which model", code="SETTING")
    names = [(settings.planner, settings.model)]
    if settings.model_second:
        names.append(_split(settings.model_second, settings.planner))
    providers = [_Late(planner, model, settings, secret) for planner, model in names]
    ladder = Ladder(providers, planner=settings.planner, prices=settings.model_prices, around=around)
    return ladder if settings.model_record is None else Recording(ladder, settings.model_record)


def _split(text: str, planner: str) -> tuple[str, str]:
    """Return planner and model of ``planner:model`` or of a model of the same planner."""
    before, _, after = text.partition(":")
    return (before, after) if before in KEYS else (planner, text)


class _Late:
    """A provider that is imported and made with the first question."""

    def __init__(self, planner: str, model: str, settings: Settings, secret: Secret) -> None:
        if planner.startswith("gemini") and not _installed("google", "google.genai"):
            raise InputError("the planner gemini needs google-genai; the extra gcp brings it", code="SETTING")
        if planner == settings.planner:
            _check_url(settings.model_url)
        self.name = f"{planner}:{model}"
        self._make: Callable[[], Provider] = partial(_provider, planner, model, settings, secret)
        self._made: Provider | None = None

    def send(self, prompt: str, schema: Mapping[str, Any], *, seconds: float) -> Answer:
        """Make one HTTP call and return its answer (raises `ModelUnavailable`)."""
        if self._made is None:
            self._made = self._make()
        return self._made.send(prompt, schema, seconds=seconds)


def _installed(*names: str) -> bool:
    return all(importlib.util.find_spec(name) is not None for name in names)


def _provider(planner: str, model: str, settings: Settings, secret: Secret) -> Provider:
    """Import and make the provider of one model."""
    url = settings.model_url.rstrip("/") if planner == settings.planner else ""

    def key() -> str:
        return _key(str(KEYS[planner]), secret, needed=planner != "openai" or not url)

    if planner == "claude":
        from causal_orchestrator.models.claude import Claude

        return Claude(model, key=key, url=url)
    if planner == "openai":
        from causal_orchestrator.models.openai_compatible import OpenAICompatible

        return OpenAICompatible(model, key=key, url=url)
    gemini = importlib.import_module("causal_orchestrator.models.gemini").Gemini
    made: Provider = gemini(
        model, project=settings.project, location=settings.location, key=key if KEYS[planner] else None, url=url
    )
    return made


def _key(name: str, secret: Secret, *, needed: bool) -> str:
    """Return a provider's key; "" where there is none and an endpoint of one's own needs none."""
    try:
        return secret(name)
    except CausalError as exc:
        if not needed and exc.code == "NOT_FOUND":
            return ""
        raise ModelUnavailable(f"the key {name} cannot be had", code="MODEL_REFUSED") from exc


def _check_url(url: str) -> None:
    """Refuse an address to which prompts and keys would go in the clear."""
    parts = urlsplit(url)
    if not url or (parts.scheme == "https" and parts.hostname):
        return
    if parts.scheme != "http" or not _is_loopback(parts.hostname or ""):
        raise InputError("CAUSAL_MODEL_URL must begin with https:// (http:// only for this machine)", code="SETTING")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


__all__ = ["MAX_TOKENS", "OFFLINE", "Answer", "Ladder", "Surroundings", "Usage", "connect", "fingerprint"]
