"""What an exchange is charged, and how that came to be known. Pure: values in, a `Conclusion` out.

What the provider reported always wins. Where it reported nothing:

==================================== =========================================================================
no status was ever seen               the bound: the request may have run in full
a status other than 2xx               nothing: providers do not bill what they refuse
2xx, an error and no output           nothing
2xx unary, not received to its end    the bound: it was generated whole before its first byte
2xx, of no form that is known here    the bound: what was generated cannot be told
2xx, output that does not show        the bound (reasoning, server tools, media)
2xx, all output shows in the bytes    counted: the prompt, and the text received, delivered or not
==================================== =========================================================================

Of mixed sources the weakest is named: provider > counted > bound.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from enum import StrEnum

from gateway.metering.reading import Reading
from gateway.metering.tokens import TokenCounter
from pricing.record import record
from pricing.usage import COUNTS, Usage


class Ending(StrEnum):
    """How an exchange ended whose request was written (if it was not, the hold is released instead)."""

    COMPLETE = "complete"
    """The provider's reply was received to its end, whatever its status."""
    CLIENT_GONE = "client_gone"
    """The client left; the provider's connection was closed, or drained for as long as that is allowed."""
    PROVIDER_BROKE = "provider_broke"
    """The provider (or the network) gave up after its status line."""
    UPSTREAM_LOST = "upstream_lost"
    """It gave up before any status."""
    TIMEOUT = "timeout"
    """It fell silent for longer than it may."""
    CUT = "cut"
    """The gateway ended the stream: out of budget, or out of time to shut down."""


class Source(StrEnum):
    PROVIDER = "provider"
    COUNTED = "counted"
    BOUND = "bound"
    NONE = "none"


class Status(StrEnum):
    OK = "ok"
    UPSTREAM_ERROR = "upstream_error"
    CLIENT_GONE = "client_gone"
    CUT = "cut"


@record(frozen=True, slots=True)
class Charged:
    """What is known of the request beforehand."""

    model: str
    streamed: bool
    bound: Callable[[], Usage]
    """The most that it can use: what the hold was made for. Made when it is asked for, as it seldom is."""
    input_tokens_max: int
    output_tokens_max: int
    """Those of ``bound``."""
    prompt_texts: Sequence[str] = ()
    """Empty: the prompt cannot be counted (it is elsewhere, or not text); its bound stands in."""
    hidden_output: bool = False
    """Some billed output does not show in the bytes."""


@record(frozen=True, slots=True)
class Conclusion:
    usage: Usage
    source: Source
    status: Status
    passes: tuple[tuple[str, Usage], ...] = ()
    """Further passes, each to be priced at its own model."""
    cost_femtousd: int | None = None
    """The provider's own charge, which is charged instead of a price for ``usage``."""
    flags: tuple[str, ...] = ()


_STATUS_OF = {
    Ending.COMPLETE: Status.OK,
    Ending.CLIENT_GONE: Status.CLIENT_GONE,
    Ending.PROVIDER_BROKE: Status.UPSTREAM_ERROR,
    Ending.UPSTREAM_LOST: Status.UPSTREAM_ERROR,
    Ending.TIMEOUT: Status.UPSTREAM_ERROR,
    Ending.CUT: Status.CUT,
}
_INPUT_SIDE = tuple(
    name for name in COUNTS if name.startswith(("input", "cache_"))
)  # the rest is produced or done by tools


def conclude(
    ending: Ending, status_code: int | None, reading: Reading, charged: Charged, counter: TokenCounter
) -> Conclusion:
    """Decide. May count text: see `conclude_async` for callers on an event loop."""
    usage, source = _usage(ending, status_code, reading, charged, counter)
    failed = reading.failed or (status_code is not None and not 200 <= status_code < 300)
    status = Status.UPSTREAM_ERROR if failed and ending is Ending.COMPLETE else _STATUS_OF[ending]
    reported = source is Source.PROVIDER
    passes = reading.passes if reading.usage is not None and source is not Source.BOUND else ()
    flags = list(reading.notes)
    read, _, _, produced = usage.sums
    if read > charged.input_tokens_max or produced > charged.output_tokens_max:
        flags.append("overrun")
    return Conclusion(
        usage=usage,
        source=source,
        status=status,
        passes=passes,
        cost_femtousd=reading.cost_femtousd if reported else None,
        flags=tuple(flags),
    )


async def conclude_async(
    ending: Ending, status_code: int | None, reading: Reading, charged: Charged, counter: TokenCounter
) -> Conclusion:
    """`conclude`, in a thread if there is much to count."""
    texts = [*reading.texts, *charged.prompt_texts]
    if counter.inline(charged.model, texts):
        return conclude(ending, status_code, reading, charged, counter)
    return await asyncio.to_thread(conclude, ending, status_code, reading, charged, counter)


def _usage(
    ending: Ending, status_code: int | None, reading: Reading, charged: Charged, counter: TokenCounter
) -> tuple[Usage, Source]:
    if reading.usage is not None and not reading.input_only:
        # What a stream that was cut had reported by then is not what the provider says it came to.
        final = ending is Ending.COMPLETE or reading.complete
        return reading.usage, Source.PROVIDER if final and not reading.counted else Source.COUNTED
    if status_code is None:
        return charged.bound(), Source.BOUND
    if not 200 <= status_code < 300:
        return Usage(), Source.NONE
    if reading.failed and not reading.produced and reading.usage is None:
        return Usage(), Source.NONE
    whole = reading.complete or (charged.streamed and ending is not Ending.UPSTREAM_LOST)
    unknown = reading.unread and not reading.produced
    bound = charged.bound()
    if not whole or unknown or charged.hidden_output or _beside_text(bound):
        return _with_reported_input(bound, reading), Source.BOUND
    return _counted(reading, charged, bound, counter)


def _counted(reading: Reading, charged: Charged, bound: Usage, counter: TokenCounter) -> tuple[Usage, Source]:
    output = min(counted_output(reading, charged.model, counter), bound.output_tokens)
    if reading.usage is not None:
        return _with_output(reading.usage, output), Source.COUNTED
    if not charged.prompt_texts:
        return _with_output(bound, output), Source.BOUND
    read = min(counter.count_prompt(charged.model, charged.prompt_texts), bound.input_tokens)
    return Usage(input=read, output=output), Source.COUNTED


def counted_output(reading: Reading, model: str, counter: TokenCounter) -> int:
    """Tokens of the text received; what was not kept of it counts at the ratio of what was."""
    counted = counter.count(model, reading.texts)
    if not reading.text_bytes_dropped:
        return counted
    kept_bytes = sum(len(text.encode("utf-8", "surrogatepass")) for text in reading.texts)
    return counted + -(-counted * reading.text_bytes_dropped // max(1, kept_bytes))


def _with_reported_input(bound: Usage, reading: Reading) -> Usage:
    """The bound, its input side replaced by what the provider did report of it."""
    if reading.usage is None:
        return bound
    counts = {name: getattr(bound, name) for name in COUNTS} | {
        name: getattr(reading.usage, name) for name in _INPUT_SIDE
    }
    return Usage(**counts, images=bound.images)


def _with_output(usage: Usage, output: int) -> Usage:
    return replace(usage, output=output, reasoning=0, output_audio=0, output_image=0)


def _beside_text(bound: Usage) -> bool:
    """Whether something other than text tokens may have been used, which no text shows."""
    text = {*_INPUT_SIDE, "output", "reasoning"}
    return bool(bound.images) or any(getattr(bound, name) for name in COUNTS if name not in text)
