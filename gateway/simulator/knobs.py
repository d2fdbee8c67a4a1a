"""How the simulated provider is told to behave.

One list of knobs, set in two places: for all requests with ``POST /_sim/config`` (or on the command line),
and for one request with a header ``x-sim-NAME``, which wins. Names are those of the fields below with dashes;
a flag is set by ``1`` and cleared by ``0``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace

HEADER_PREFIX = "x-sim-"
LABEL_HEADER = "x-sim-label"
"""Not a knob: names the request in the journal and fixes the id of its reply."""


class BadKnob(ValueError):
    """A knob that does not exist, or a value that it cannot take."""


@dataclass(frozen=True, slots=True)
class Knobs:
    first_byte_ms: int = 0
    """Silence before the status line."""
    chunk_ms: int = 0
    """Silence between two writes of the body."""
    write_bytes: int = 0
    """Cut the body into writes of so many bytes, whatever the events; 0: one write an event."""
    tokens_per_event: int = 1

    output_tokens: int | None = None
    """Visible tokens wanted per choice (the request's own cap still holds); None: 8 to 24, by the prompt."""
    input_tokens: int | None = None
    """Input tokens to report in place of the counted ones."""
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    cache_write_1h_tokens: int = 0
    reasoning_tokens: int = 0
    """Hidden tokens before the first visible one; the request's cap covers them."""
    web_searches: int = 0
    service_tier: str = ""
    """The tier that the reply says it was served at."""
    ignore_cap: bool = False
    """Generate past the request's cap, as a provider at fault would."""
    no_usage: bool = False
    """Report no usage."""

    error: int = 0
    """Answer with this status and the dialect's error body."""
    error_times: int | None = None
    """Only the first so many requests under one label get the error."""
    retry_after_s: int | None = None
    error_after_events: int | None = None
    """After so many events of a 200 stream, send the dialect's error event and end."""
    cut_after_events: int | None = None
    """Close the connection after so many events, leaving the reply unterminated."""
    cut_mid_event: bool = False
    """With cut_after_events: send half of the next event first."""
    cut_after_bytes: int | None = None
    end_after_bytes: int | None = None
    """End the reply properly after so many bytes, as if it were whole."""
    no_terminator: bool = False
    """Leave out the stream's closing event (``[DONE]``, ``message_stop``...)."""
    hang: bool = False
    """Read the request and never answer."""
    hang_after_events: int | None = None
    close: bool = False
    """Close the connection without a status."""
    pad_bytes: int = 0
    """Add a member of so many bytes to the reply, or to the first event."""
    read_bytes_per_s: int = 0
    """Read the request this slowly; 0: at full speed."""
    gzip: bool = False
    """Compress the reply."""


_FLAG, _COUNT, _TEXT = "bool", "int", "str"
_KINDS: dict[str, tuple[str, str]] = {
    field.name.replace("_", "-"): (field.name, str(field.type).split(" ")[0]) for field in fields(Knobs)
}


def _value(name: str, kind: str, raw: object) -> object:
    text = str(raw).strip()
    if kind == _TEXT:
        return text
    if kind == _FLAG and text.lower() in {"1", "true", "0", "false", ""}:
        return text.lower() in {"1", "true"}
    if kind == _COUNT and text.isdecimal():
        return int(text)
    raise BadKnob(f"{name}: {text!r} is not a {'flag (0 or 1)' if kind == _FLAG else 'count'}")


def turn(knobs: Knobs, changes: Mapping[str, object]) -> Knobs:
    """``knobs`` with ``changes`` (by dashed or underscored name; None: back to the default) applied."""
    found: dict[str, object] = {}
    defaults = Knobs()
    for key, raw in changes.items():
        name = key.replace("_", "-")
        if name not in _KINDS:
            raise BadKnob(f"no knob is called {name!r}; there are {', '.join(_KINDS)}")
        field_name, kind = _KINDS[name]
        found[field_name] = getattr(defaults, field_name) if raw is None else _value(name, kind, raw)
    return replace(knobs, **found)  # type: ignore[arg-type]


def turn_by_headers(knobs: Knobs, headers: Iterable[tuple[str, str]]) -> Knobs:
    """``knobs`` as one request's own headers change them."""
    changes = {
        name.lower()[len(HEADER_PREFIX) :]: value
        for name, value in headers
        if name.lower().startswith(HEADER_PREFIX) and name.lower() != LABEL_HEADER
    }
    return turn(knobs, changes) if changes else knobs
