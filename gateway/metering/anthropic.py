"""Anthropic messages.

Cache tokens are beside ``input_tokens`` (anthropic types/usage.py). ``message_start`` has the whole usage
object, ``message_delta`` repeats part of it cumulatively: each field's last value that is not null stands,
nothing is ever added up. Passes in ``iterations`` that are not of type ``message`` (compaction, advisor) are
in no top-level field: the top level is the sum of the ``message`` passes.
"""

from __future__ import annotations

from gateway.metering import tiers
from gateway.metering.overlap import Overlapping
from gateway.metering.reading import Reading
from gateway.metering.reply import Json, ReplyReader, count, items, json_text, members, string
from gateway.metering.texts import Texts
from pricing.usage import Usage


class AnthropicReader(ReplyReader):
    """``cache_ttl_1h``: where writes are not split by time to live, take them for the dearer one."""

    __slots__ = ("_cache_ttl_1h", "_id", "_model", "_output_reported", "_texts", "_usage")

    MARKS = frozenset({"content", "content_block", "delta", "message", "usage"})

    def __init__(self, cache_ttl_1h: bool = False) -> None:
        super().__init__()
        self._cache_ttl_1h = cache_ttl_1h
        self._usage: dict[str, object] = {}
        self._output_reported = False
        self._id: str | None = None
        self._model: str | None = None
        self._texts = Texts()

    def document(self, doc: Json) -> None:
        if doc.get("type") == "error":
            self.failed = True
        self._message(doc)
        self._output_reported = True
        for index, block in enumerate(items(doc.get("content"))):
            self._block(index, block)

    def event(self, name: bytes, doc: Json) -> None:
        kind = string(doc.get("type")) or name.decode("utf-8", "replace")
        if kind == "content_block_delta":
            delta = members(doc.get("delta"))
            for member in ("text", "thinking", "partial_json"):
                self._texts.add(doc.get("index"), delta.get(member))
        elif kind == "content_block_start":
            self._block(doc.get("index"), members(doc.get("content_block")))
        elif kind == "message_start":
            self._message(members(doc.get("message")))
        elif kind == "message_delta":
            usage = members(doc.get("usage"))
            self._merge(usage)
            if usage.get("output_tokens") is not None:
                self._output_reported = True
        elif kind == "message_stop":
            self.complete = True
        elif kind == "error":
            self.failed = True

    def reading(self) -> Reading:
        usage = self._usage
        tier = tiers.joined(
            tiers.normal(usage.get("service_tier")),
            tiers.normal(usage.get("speed")),
            tiers.normal(usage.get("inference_geo"), "geo:"),
        )
        reported = "input_tokens" in usage
        return Reading(
            usage=self._top_level() if reported else None,
            input_only=reported and not self._output_reported,
            passes=self._passes() if reported else (),
            model=self._model,
            tier=tier,
            provider_request_id=self._id,
            texts=self._texts.strings(),
            text_bytes_dropped=self._texts.bytes_dropped,
            complete=self.complete,
            failed=self.failed,
            notes=tuple(self.notes),
        )

    def _message(self, message: Json) -> None:
        self._id = string(message.get("id")) or self._id
        self._model = string(message.get("model")) or self._model
        self._merge(members(message.get("usage")))

    def _merge(self, usage: Json) -> None:
        self._usage.update({name: value for name, value in usage.items() if value is not None})

    def _block(self, index: object, block: Json) -> None:
        for member in ("text", "thinking", "name"):
            self._texts.add(index, block.get(member))
        arguments = block.get("input")
        if isinstance(arguments, dict) and arguments:
            self._texts.add(index, json_text(arguments))

    def _top_level(self) -> Usage:
        read = _overlapping(self._usage, self._cache_ttl_1h)
        if not self._output_reported:
            # message_start counts the first token or so; what came is counted instead
            read.output = read.reasoning = 0
        read.web_searches = count(members(self._usage.get("server_tool_use")).get("web_search_requests"))
        usage = read.exclusive()
        for remark in read.notes:
            self.note(remark)
        return usage

    def _passes(self) -> tuple[tuple[str, Usage], ...]:
        """What was billed beside the top level: nothing if that is the sum of all passes after all."""
        passes = items(self._usage.get("iterations"))
        extra = [item for item in passes if item.get("type") != "message"]
        inside = all(
            sum(count(item.get(name)) for item in passes) == count(self._usage.get(name))
            for name in ("input_tokens", "output_tokens")
        )
        if inside:
            return ()
        return tuple(
            (
                string(item.get("model")) or self._model or "",
                _overlapping(item, self._cache_ttl_1h).exclusive(),
            )
            for item in extra
        )


def _overlapping(usage: Json, cache_ttl_1h: bool) -> Overlapping:
    written = count(usage.get("cache_creation_input_tokens"))
    split = members(usage.get("cache_creation"))
    written_1h = count(split.get("ephemeral_1h_input_tokens"))
    if not split and cache_ttl_1h:
        written_1h = written
    written = max(written, written_1h + count(split.get("ephemeral_5m_input_tokens")))
    read = count(usage.get("cache_read_input_tokens"))
    return Overlapping(
        input=count(usage.get("input_tokens")) + written + read,
        cached=read,
        written=written,
        written_1h=written_1h,
        output=count(usage.get("output_tokens")),
        reasoning=count(members(usage.get("output_tokens_details")).get("thinking_tokens")),
    )
