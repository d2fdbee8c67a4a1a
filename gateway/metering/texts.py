"""Generated text, kept only to be counted, and only so much of it."""

from __future__ import annotations

TEXT_CHARS_MAX = 1 << 20
"""Kept per reply. The largest outputs (128,000 to 384,000 tokens) are about this long; what goes beyond is
kept as a number of bytes and counted at the ratio of the text that was kept."""


class Texts:
    """Collects the text of several outputs that arrive interleaved."""

    __slots__ = ("_by_output", "bytes_dropped", "chars")

    def __init__(self) -> None:
        self._by_output: dict[object, list[str]] = {}
        self.chars = 0
        """All that was received."""
        self.bytes_dropped = 0

    def add(self, output: object, text: object) -> None:
        """Take ``text`` (anything but a non-empty string is ignored) of one output (a choice, a block)."""
        if not text or type(text) is not str:
            return
        chars = self.chars + len(text)
        if chars <= TEXT_CHARS_MAX:  # as nearly always
            self.chars = chars
            try:
                self._by_output[output].append(text)
            except (KeyError, TypeError):
                self._keep(output, text)
            return
        room = TEXT_CHARS_MAX - self.chars
        self.chars += len(text)
        if len(text) > room:
            room = max(0, room)
            self.bytes_dropped += len(text[room:].encode("utf-8", "surrogatepass"))
            text = text[:room]
        if text:
            self._keep(output, text)

    def _keep(self, output: object, text: str) -> None:
        try:
            self._by_output.setdefault(output, []).append(text)
        except TypeError:  # an index that is no index
            self._by_output.setdefault(None, []).append(text)

    def strings(self) -> tuple[str, ...]:
        return tuple("".join(pieces) for pieces in self._by_output.values())
