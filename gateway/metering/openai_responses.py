"""The Responses API: usage in the terminal event, hosted tools beside it.

``usage`` counts the chat model only. Image generation runs another model, reported in
``tool_usage.image_gen`` or not at all (then the images in the output are counted); searches are in
``tool_usage.web_search`` or else the ``web_search_call`` items whose action is a search.
"""

from __future__ import annotations

from gateway.metering import tiers
from gateway.metering.openai_usage import has_counts, overlapping
from gateway.metering.reading import Reading
from gateway.metering.reply import Json, ReplyReader, count, items, members, string
from gateway.metering.reported_cost import CostField, reported_cost
from gateway.metering.texts import Texts
from pricing.usage import Usage

_TERMINAL = frozenset({"response.completed", "response.incomplete", "response.failed", "response.cancelled"})
_IMAGE_MODEL = "gpt-image-1"
"""The image tool's model where neither the tool nor the reply names one (its documented default)."""
_UNPRICED_TOOLS = {"file_search_call": "file_search", "code_interpreter_call": "code_interpreter"}
"""Hosted tools that are billed per call or session and that `Usage` has no bucket for: noted."""


class OpenAiResponsesReader(ReplyReader):
    __slots__ = ("_cost_field", "_final", "_response", "_texts")

    MARKS = frozenset({"delta", "item", "output", "part", "response"})

    def __init__(self, cost: CostField | None = None) -> None:
        super().__init__()
        self._cost_field = cost
        self._response: Json = {}
        self._final = False
        self._texts = Texts()

    def document(self, doc: Json) -> None:
        self._take(doc)
        self._final = True
        for item in items(doc.get("output")):
            self._item_text(item)

    def event(self, name: bytes, doc: Json) -> None:
        kind = string(doc.get("type")) or name.decode("utf-8", "replace")
        if kind.endswith(".delta"):
            self._texts.add((doc.get("output_index"), doc.get("content_index")), doc.get("delta"))
        elif kind == "response.output_item.added":
            self._texts.add((doc.get("output_index"), None), members(doc.get("item")).get("name"))
        elif isinstance(doc.get("response"), dict):
            self._take(doc["response"])
            if kind in _TERMINAL:
                self._final = self.complete = True
                self.failed = self.failed or kind == "response.failed"
        elif kind == "error":
            self.failed = True

    def reading(self) -> Reading:
        response = self._response
        reported = response.get("usage")
        model = string(response.get("model"))
        usage: Usage | None = None
        cost = None
        if isinstance(reported, dict) and has_counts(reported):
            read = overlapping(reported, model=model)
            read.web_searches = max(read.web_searches, _searches(response))
            usage = read.exclusive()
            cost = reported_cost(reported, self._cost_field)
            for remark in read.notes:
                self.note(remark)
        for item in items(response.get("output")):
            tool = _UNPRICED_TOOLS.get(str(item.get("type")))
            if tool is not None:
                self.note(f"unpriced_unit:{tool}")
        return Reading(
            usage=usage,
            input_only=usage is not None and not self._final,
            passes=_image_passes(response) if usage is not None else (),
            model=model,
            tier=tiers.normal(response.get("service_tier")),
            provider_request_id=string(response.get("id")),
            texts=self._texts.strings(),
            text_bytes_dropped=self._texts.bytes_dropped,
            cost_femtousd=cost,
            complete=self.complete,
            failed=self.failed,
            notes=tuple(self.notes),
        )

    def _take(self, response: Json) -> None:
        self._response = {
            **self._response,
            **{
                name: response[name]
                for name in ("id", "model", "service_tier", "usage", "tool_usage", "output", "tools")
                if response.get(name)
            },
        }

    def _item_text(self, item: Json) -> None:
        key = id(item)
        for part in [*items(item.get("content")), *items(item.get("summary"))]:
            self._texts.add(key, part.get("text") or part.get("refusal"))
        for member in ("name", "arguments", "input", "code"):
            self._texts.add(key, item.get(member))


def _searches(response: Json) -> int:
    reported = members(members(response.get("tool_usage")).get("web_search"))
    if "num_requests" in reported:
        return count(reported["num_requests"])
    return sum(
        1
        for item in items(response.get("output"))
        if item.get("type") == "web_search_call"
        and members(item.get("action")).get("type", "search") == "search"
    )


def _image_passes(response: Json) -> tuple[tuple[str, Usage], ...]:
    model = next(
        (
            str(tool["model"])
            for tool in items(response.get("tools"))
            if tool.get("type") == "image_generation" and string(tool.get("model"))
        ),
        _IMAGE_MODEL,
    )
    reported = members(members(response.get("tool_usage")).get("image_gen"))
    if has_counts(reported):
        read = overlapping(reported)
        read.cached = count(reported.get("cached_tokens"))
        read.cached_image = count(members(reported.get("cached_tokens_details")).get("cached_image_tokens"))
        if not read.output_image:
            read.output_image = read.output - read.reasoning
        usage = read.exclusive()
        return ((model, usage),) if usage != Usage() else ()
    images: dict[str, int] = {}
    for item in items(response.get("output")):
        if item.get("type") == "image_generation_call" and item.get("result"):
            label = " ".join(str(item[name]) for name in ("quality", "size") if item.get(name))
            images[label] = images.get(label, 0) + 1
    return ((model, Usage(images=tuple(sorted(images.items())))),) if images else ()
