"""What a catalogue of prices must be able to say: which model is this, and what did it cost at an instant."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from pricing.rates import Rates

ALWAYS_S = (-(2**62), 2**62)
"""An interval of seconds without an end on either side."""


@dataclass(frozen=True, slots=True)
class Listing:
    """One model's prices as a catalogue has them, valid from ``from_s`` until before ``until_s`` (epoch
    seconds)."""

    provider: str
    """As the catalogue names it."""
    model: str
    """The catalogue's own id of the model, whatever spelling was asked for."""
    ref: str
    """Where the price stands, for people: catalogue, version, model, date."""
    rates: Rates
    tiers: Mapping[str, Rates] = field(default_factory=dict)
    """Service tier -> the rates that differ from ``rates``."""
    context_window: int | None = None
    audio_ms_min: int = 0
    """Shorter audio is billed as this long."""
    from_s: int = ALWAYS_S[0]
    until_s: int = ALWAYS_S[1]


class Catalogue(Protocol):
    """A source of prices. Answers come from memory: no method waits, none opens anything."""

    version: str

    def find(self, provider: str, model: str, at_s: int) -> Listing | None:
        """The listing of a model at an instant (epoch seconds), or None: not listed, or listed without a
        price."""

    def changes(self, provider: str, model: str) -> tuple[int, ...]:
        """The instants (epoch seconds, ascending) at which this model's prices start to differ."""

    def hours(self, provider: str, model: str) -> tuple[int, ...]:
        """The seconds of a UTC day, ascending, at which this model's prices differ by the time of day."""

    def providers(self) -> tuple[str, ...]:
        """All provider ids, to search a model everywhere."""


KINDS: Mapping[str, str | None] = {
    "openai": "openai",
    "anthropic": "anthropic",
    "gemini": "google",
    "vertex": "google",
    "azure": "azure",
    "bedrock": "aws",
    "xai": "x-ai",
    "moonshot": "moonshotai",
    "voyage": "voyageai",
    "ollama": None,  # runs on one's own machines: only pricing.yaml knows what that costs
    "vllm": None,
    "lmstudio": None,
}
"""Kind of provider -> its id in the bundled catalogue, where the two names differ or must not be guessed.
A kind that is missing here is looked up by its own name."""


def catalogue_provider(kind: str, catalogue: str | None = None) -> str | None:
    """The catalogue's id for a provider of this kind; ``catalogue`` from its configuration wins."""
    return catalogue if catalogue is not None else KINDS.get(kind, kind)


RESOURCE_PATH = re.compile(r"(?:publishers/[^/]+/)?models/")
"""How Google's APIs begin a model's name. Limits know a model by any of its names, so prices must take no others."""


def bare_model(provider: str | None, model: str) -> str:
    """The model without the resource path in which Google's APIs name it (``models/…``, ``publishers/…``).

    A tuned model keeps its path: its price is not that of a base model. So does what is no such path.
    """
    path = RESOURCE_PATH.match(model) if provider == "google" else None
    return model if path is None else model[path.end() :]
