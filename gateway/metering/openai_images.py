"""Images: tokens where the model reports them (gpt-image), else a number of images (DALL·E, Grok)."""

from __future__ import annotations

from dataclasses import replace

from gateway.metering.openai_usage import has_counts, overlapping
from gateway.metering.reading import Reading
from gateway.metering.reply import Json, ReplyReader, items, string
from gateway.metering.reported_cost import CostField, reported_cost
from pricing.usage import Usage

_FINAL_EVENTS = ("image_generation.completed", "image_edit.completed")


class OpenAiImagesReader(ReplyReader):
    """``label``: "quality size" of the request, for counting images where no tokens are reported."""

    __slots__ = ("_cost_field", "_images", "_label", "_model", "_usage")

    MARKS = frozenset({"b64_json", "data", "usage"})

    def __init__(self, label: str = "", cost: CostField | None = None) -> None:
        super().__init__()
        self._label = label
        self._cost_field = cost
        self._images = 0
        self._model: str | None = None
        self._usage: Json | None = None

    def document(self, doc: Json) -> None:
        self._images = len(items(doc.get("data")))
        self._take(doc)

    def event(self, name: bytes, doc: Json) -> None:
        kind = string(doc.get("type")) or name.decode("utf-8", "replace")
        if kind in _FINAL_EVENTS:
            self._images += 1
            self.complete = True
            self._take(doc)

    def reading(self) -> Reading:
        usage: Usage | None = None
        cost = None
        if self._usage is not None:
            cost = reported_cost(self._usage, self._cost_field)
        if self._usage is not None and has_counts(self._usage):
            read = overlapping(self._usage)
            if not read.output_image:
                # an image API produces nothing else, whether or not it spells the parts out
                read.output_image = read.output - min(read.reasoning, read.output)
            usage = read.exclusive()
            for remark in read.notes:
                self.note(remark)
        elif self._images:
            usage = replace(Usage(), images=((self._label, self._images),))
        return Reading(
            usage=usage,
            counted=usage is not None and self._usage is None,
            model=self._model,
            images=self._images,
            cost_femtousd=cost,
            complete=self.complete,
            failed=self.failed,
            notes=tuple(self.notes),
        )

    def _take(self, doc: Json) -> None:
        self._model = string(doc.get("model")) or self._model
        usage = doc.get("usage")
        if isinstance(usage, dict):
            self._usage = usage
