"""What metering learned from one reply.

Readers are sans-I/O: bytes in any split, one `Reading` out. The same bytes give the same reading however they
were cut. A reader never raises on what a provider sends: what it cannot read it leaves out and says so.
"""

from __future__ import annotations

from typing import Protocol

from pricing.record import record
from pricing.usage import Usage


@record(frozen=True, slots=True)
class Reading:
    """What a reply said of itself, when it ended or was cut."""

    usage: Usage | None = None
    """As the provider reported it; None: it reported none (or not enough of it)."""
    counted: bool = False
    """``usage`` is what was received, counted; the provider reported none (images by the piece)."""
    input_only: bool = False
    """``usage`` holds only the input side: what was generated is not (or no longer) covered by a report."""
    passes: tuple[tuple[str, Usage], ...] = ()
    """Further billed passes of other models: (model, usage) each (Anthropic's iterations)."""
    model: str | None = None
    """The model that the reply names."""
    tier: str | None = None
    """The service tier that was served, which is the one billed; None: the standard one (see `tiers`)."""
    provider_request_id: str | None = None
    """The provider's id for the generation (``id`` / ``responseId``)."""
    texts: tuple[str, ...] = ()
    """Generated text that was received, one string per output, for counting where no usage was reported."""
    text_bytes_dropped: int = 0
    """UTF-8 bytes of generated text beyond what ``texts`` keeps (`texts.TEXT_CHARS_MAX`)."""
    images: int = 0
    """Generated images received (for image routes that report no usage)."""
    cost_femtousd: int | None = None
    """What the provider itself says that it charged (OpenRouter's ``cost``)."""
    complete: bool = False
    """The reply reached its own end marker (or the end of its JSON document)."""
    failed: bool = False
    """The reply carries the provider's error instead of, or after, output."""
    unread: bool = False
    """Something came, and none of it is of a form that the reader knows: what was generated cannot be told."""
    notes: tuple[str, ...] = ()
    """Contradictions and omissions that someone should be able to find, e.g. ``cached_over_input``."""

    @property
    def reported(self) -> bool:
        """Whether ``usage`` covers all that was used, as far as it came."""
        return self.usage is not None and not self.input_only

    @property
    def produced(self) -> bool:
        """Whether any output was received."""
        return bool(self.texts or self.text_bytes_dropped or self.images)


class UsageReader(Protocol):
    def feed(self, data: bytes) -> None:
        """Take the next bytes of the (decoded) body. Cheap: parsing is put off to segments."""

    def finish(self) -> Reading:
        """The end, wherever it came. May be called again; what is fed after it is ignored."""


class NoReader:
    """For replies that nothing is read from."""

    def feed(self, data: bytes) -> None:
        del data

    def finish(self) -> Reading:
        return Reading()


class UsageFilter(Protocol):
    """Removes the usage event that the gateway asked for and the client did not."""

    def feed(self, data: bytes) -> bytes:
        """The bytes that may go to the client now; an incomplete event is held back."""

    def flush(self) -> bytes:
        """What is still held back when the stream ends."""
