"""Embeddings: input tokens only."""

from __future__ import annotations

from gateway.metering.openai_usage import has_counts, overlapping
from gateway.metering.reading import Reading
from gateway.metering.reply import Json, ReplyReader, string
from gateway.metering.reported_cost import CostField, reported_cost


class OpenAiEmbeddingsReader(ReplyReader):
    __slots__ = ("_cost_field", "_doc")

    MARKS = frozenset({"data", "usage"})

    def __init__(self, cost: CostField | None = None) -> None:
        super().__init__()
        self._cost_field = cost
        self._doc: Json = {}

    def document(self, doc: Json) -> None:
        self._doc = {name: doc.get(name) for name in ("id", "model", "usage")}

    def event(self, name: bytes, doc: Json) -> None:
        del name, doc

    def reading(self) -> Reading:
        reported = self._doc.get("usage")
        usage = None
        cost = None
        if isinstance(reported, dict) and has_counts(reported):
            read = overlapping(reported)
            usage = read.exclusive()
            cost = reported_cost(reported, self._cost_field)
            for remark in read.notes:
                self.note(remark)
        return Reading(
            usage=usage,
            model=string(self._doc.get("model")),
            provider_request_id=string(self._doc.get("id")),
            cost_femtousd=cost,
            complete=self.complete,
            failed=self.failed,
            notes=tuple(self.notes),
        )
