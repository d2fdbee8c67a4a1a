"""Editing a JSON body by replacing spans of its bytes; nothing else changes, nothing large is copied."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pricing.record import record


@record(frozen=True, slots=True)
class Edit:
    """``body[start:end]`` becomes ``data``."""

    start: int
    end: int
    data: bytes


@record(frozen=True, slots=True)
class CapMember:
    """An output cap that the client sent: where its digits stand, and what they say."""

    start: int
    end: int
    value: int


@record(frozen=True, slots=True)
class CapSlot:
    """Where, and between which bytes, the number of a cap is written that the client did not send."""

    start: int
    end: int
    before: bytes
    after: bytes


def cap_edits(caps: Sequence[CapMember], slot: CapSlot | None, output_cap: int | None) -> list[Edit]:
    """The edits that bring every cap down to ``output_cap``; None asks for none.

    A cap that is already as low stays untouched, down to its spelling.
    """
    if output_cap is None:
        return []
    if caps:
        return [Edit(c.start, c.end, b"%d" % output_cap) for c in caps if c.value > output_cap]
    if slot is None:
        raise ValueError("this call has no output cap that could be set")
    return [Edit(slot.start, slot.end, b"%b%d%b" % (slot.before, output_cap, slot.after))]


def splice(body: Sequence[bytes | memoryview], edits: Iterable[Edit]) -> list[bytes | memoryview]:
    """The pieces of ``body`` with ``edits`` applied. Spans must not overlap; untouched bytes are views."""
    ordered = sorted(edits, key=lambda edit: (edit.start, edit.end))
    if not ordered:
        return list(body)
    whole = memoryview(body[0]) if len(body) == 1 else memoryview(b"".join(body))
    pieces: list[bytes | memoryview] = []
    at = 0
    for edit in ordered:
        if edit.start < at:
            raise ValueError("edits overlap")
        if edit.start > at:
            pieces.append(whole[at : edit.start])
        pieces.append(edit.data)
        at = edit.end
    if at < len(whole):
        pieces.append(whole[at:])
    return pieces
