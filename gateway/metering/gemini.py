"""Gemini and Vertex: generateContent in all three framings, and embeddings.

``usageMetadata`` may come with every chunk and is cumulative, but counts also shrink on the way: the last
one stands. Thoughts are beside candidates and tool-use prompts beside the prompt; cached tokens are inside
the prompt (google/genai/types.py). Absent fields are 0.
"""

from __future__ import annotations

from gateway.metering import tiers
from gateway.metering.overlap import Overlapping
from gateway.metering.reading import Reading
from gateway.metering.reply import Json, ReplyReader, count, items, json_text, members, output_index, string
from gateway.metering.texts import Texts
from pricing.usage import Usage

_MODALITIES = {1: "TEXT", 2: "IMAGE", 3: "VIDEO", 4: "AUDIO", 5: "DOCUMENT"}
"""Vertex with ``enum-encoding=int``."""
_TRAFFIC_TIERS = {
    "ON_DEMAND_PRIORITY": "priority",
    "ON_DEMAND_FLEX": "flex",
    "PROVISIONED_THROUGHPUT": "provisioned_throughput",
}
_SEARCH_PER_REQUEST = ("gemini-1", "gemini-2")
"""Models whose grounding is billed once a request; later ones are billed per query."""


class GeminiReader(ReplyReader):
    __slots__ = (
        "_finished_candidates", "_id", "_images", "_model", "_queries", "_seen_candidates", "_stale", "_texts",
        "_usage",
    )  # fmt: skip

    MARKS = frozenset({"candidates", "promptFeedback", "usageMetadata"})

    def __init__(self) -> None:
        super().__init__()
        self._usage: Json | None = None
        self._stale = False
        self._seen_candidates: set[int] = set()
        self._finished_candidates: set[int] = set()
        self._id: str | None = None
        self._model: str | None = None
        self._images = 0
        self._queries: set[str] = set()
        self._texts = Texts()

    def document(self, doc: Json) -> None:
        self._take(doc)

    def event(self, name: bytes, doc: Json) -> None:
        del name
        self._take(doc)

    def reading(self) -> Reading:
        usage: Usage | None = None
        tier = None
        if self._usage is not None:
            read = _overlapping(self._usage)
            read.web_searches = self._web_searches()
            usage = read.exclusive()
            tier = tiers.joined(
                _TRAFFIC_TIERS.get(str(self._usage.get("trafficType"))),
                tiers.normal(self._usage.get("serviceTier")),
            )
            for remark in read.notes:
                self.note(remark)
        finished = bool(self._finished_candidates) and self._finished_candidates == self._seen_candidates
        return Reading(
            usage=usage,
            input_only=usage is not None and self._stale,
            model=self._model,
            tier=tier,
            provider_request_id=self._id,
            texts=self._texts.strings(),
            text_bytes_dropped=self._texts.bytes_dropped,
            images=self._images,
            complete=self.complete or (finished and not self.failed),
            failed=self.failed,
            notes=tuple(self.notes),
        )

    def _take(self, doc: Json) -> None:
        self._id = string(doc.get("responseId")) or self._id
        self._model = string(doc.get("modelVersion")) or self._model
        for candidate in items(doc.get("candidates")):
            self._candidate(candidate)
        usage = doc.get("usageMetadata")
        if isinstance(usage, dict) and usage:
            self._usage = usage
            self._stale = False

    def _candidate(self, candidate: Json) -> None:
        output = output_index(candidate)
        self._seen_candidates.add(output)
        before = self._texts.chars
        for part in items(members(candidate.get("content")).get("parts")):
            self._texts.add(output, part.get("text"))
            call = members(part.get("functionCall"))
            self._texts.add(output, call.get("name"))
            if members(call.get("args")):
                self._texts.add(output, json_text(call["args"]))
            self._texts.add(output, members(part.get("executableCode")).get("code"))
            if members(part.get("inlineData")):
                self._images += 1
        self._stale = self._stale or self._texts.chars > before
        if candidate.get("finishReason"):
            self._finished_candidates.add(output)
        queries = members(candidate.get("groundingMetadata")).get("webSearchQueries")
        if isinstance(queries, list):
            self._queries.update(query for query in queries if isinstance(query, str))

    def _web_searches(self) -> int:
        if (self._model or "").startswith(_SEARCH_PER_REQUEST):
            return min(1, len(self._queries))
        return len(self._queries)


def _overlapping(usage: Json) -> Overlapping:
    read = _modalities(usage, "promptTokensDetails", "promptTokenDetails", "toolUsePromptTokensDetails")
    cached = _modalities(usage, "cacheTokensDetails")
    made = _modalities(usage, "candidatesTokensDetails", "responseTokensDetails")
    thoughts = count(usage.get("thoughtsTokenCount"))
    candidates = count(usage.get("candidatesTokenCount")) or count(usage.get("responseTokenCount"))
    prompt = count(usage.get("promptTokenCount")) + count(usage.get("toolUsePromptTokenCount"))
    overlapping = Overlapping(
        input=prompt,
        cached=count(usage.get("cachedContentTokenCount")),
        input_audio=read.get("AUDIO", 0),
        input_image=read.get("IMAGE", 0),
        input_video=max(0, read.get("VIDEO", 0) - cached.get("VIDEO", 0)),
        cached_audio=cached.get("AUDIO", 0),
        cached_image=cached.get("IMAGE", 0),
        output=candidates + thoughts,
        reasoning=thoughts,
        output_audio=made.get("AUDIO", 0),
        output_image=made.get("IMAGE", 0),
    )
    rest = count(usage.get("totalTokenCount")) - overlapping.input - overlapping.output
    if rest > 0:
        overlapping.notes["total_differs"] = None
    return overlapping


def _modalities(usage: Json, *members_of: str) -> dict[str, int]:
    counts: dict[str, int] = {}
    for member in members_of:
        for item in items(usage.get(member)):
            modality = item.get("modality")
            name = _MODALITIES.get(modality, "") if isinstance(modality, int) else str(modality)
            counts[name] = counts.get(name, 0) + count(item.get("tokenCount"))
    return counts
