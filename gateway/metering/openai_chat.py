"""Chat completions and completions: OpenAI's, and everybody's who speaks it.

Where usage may be: in a last chunk with no choices, in the finish chunk, in an empty delta after it, in
every chunk (cumulative: the last one counts), only in ``x_groq``, or nowhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from gateway.metering import tiers
from gateway.metering.openai_usage import PLAIN, UsageRules, has_counts, overlapping, plain
from gateway.metering.reading import Reading
from gateway.metering.reply import Json, ReplyReader, items, json_text, members, string
from gateway.metering.reported_cost import CostField, reported_cost
from gateway.metering.texts import Texts


@dataclass(frozen=True, slots=True)
class ChatOptions:
    """How a kind of provider differs from OpenAI."""

    rules: UsageRules = PLAIN
    cost: CostField | None = None
    """Where the provider says what it charged, if what it says is to be charged."""


OPTIONS_BY_KIND: Mapping[str, ChatOptions] = MappingProxyType(
    {
        "gemini": ChatOptions(UsageRules(rest_is_reasoning=True)),
        "openrouter": ChatOptions(cost=CostField.COST),
        "perplexity": ChatOptions(UsageRules(reasoning_beside=True), CostField.COST),
        "xai": ChatOptions(UsageRules(reasoning_beside=True), CostField.TICKS),
    }
)
"""The kinds that differ; every other kind is `USUAL`."""
USUAL = ChatOptions()


class OpenAiChatReader(ReplyReader):
    __slots__ = (
        "_finished_choices",
        "_id",
        "_model",
        "_options",
        "_seen_choices",
        "_stale",
        "_texts",
        "_tier",
        "_tier_spelled",
        "_usage",
    )

    MARKS = frozenset({"choices", "usage", "x_groq"})

    def __init__(self, options: ChatOptions = ChatOptions()) -> None:
        super().__init__()
        self._options = options
        self._usage: Json | None = None
        self._stale = False
        self._seen_choices: set[int] = set()
        self._finished_choices: set[int] = set()
        self._texts = Texts()
        self._id: str | None = None
        self._model: str | None = None
        self._tier: str | None = None
        self._tier_spelled: object = None

    def document(self, doc: Json) -> None:
        self._head(doc)
        self._take_usage(doc.get("usage"))
        if self._usage is None:  # text is only there to be counted
            for choice in items(doc.get("choices")):
                self._text(choice, members(choice.get("message")))

    def event(self, name: bytes, doc: Json) -> None:
        del name
        if self._id is None or self._model is None or doc.get("service_tier") != self._tier_spelled:
            self._head(doc)
        choices = doc.get("choices")
        for choice in choices if type(choices) is list else ():
            if type(choice) is not dict:
                continue
            index = choice.get("index", 0)
            number = index if type(index) is int else 0
            self._seen_choices.add(number)
            delta = choice.get("delta")
            if type(delta) is dict and len(delta) == 1 and type(content := delta.get("content")) is str:
                # nearly every chunk: a few characters of the answer and nothing else
                if content:
                    self._texts.add(index, content)
                    self._stale = True
            else:
                # a stream request answered in one piece still says `message`
                self._text(choice, members(delta or choice.get("message")))
            if choice.get("finish_reason"):
                self._finished_choices.add(number)
        usage = doc.get("usage")
        if not usage and "x_groq" in doc:
            usage = members(doc["x_groq"]).get("usage")
        if usage:
            self._take_usage(usage)

    def reading(self) -> Reading:
        usage = None
        cost = None
        if self._usage is not None:
            usage = plain(self._usage, self._options.rules, self._model)
            if usage is None:
                read = overlapping(self._usage, self._options.rules, self._model)
                usage = read.exclusive()
                for remark in read.notes:
                    self.note(remark)
            cost = reported_cost(self._usage, self._options.cost)
        finished = bool(self._finished_choices) and self._finished_choices == self._seen_choices
        return Reading(
            usage=usage,
            input_only=usage is not None and self._stale,
            model=self._model,
            tier=self._tier,
            provider_request_id=self._id,
            texts=self._texts.strings(),
            text_bytes_dropped=self._texts.bytes_dropped,
            cost_femtousd=cost,
            complete=self.complete or (finished and not self.failed),
            failed=self.failed,
            notes=tuple(self.notes),
        )

    def _head(self, doc: Json) -> None:
        self._id = self._id or string(doc.get("id"))
        self._model = self._model or string(doc.get("model"))
        self._tier_spelled = doc.get("service_tier")
        self._tier = tiers.normal(self._tier_spelled) or self._tier

    def _take_usage(self, usage: object) -> None:
        if isinstance(usage, dict) and has_counts(usage):
            self._usage = usage
            self._stale = False

    def _text(self, choice: Json, message: Json) -> None:
        """All that a model writes is billed: answer, reasoning, refusal, tool names and arguments."""
        output = choice.get("index", 0)
        before = self._texts.chars
        add = self._texts.add
        add(output, choice.get("text"))
        content = message.get("content")
        if isinstance(content, list):  # Mistral's thinking models
            _parts(self._texts, output, content)
        else:
            add(output, content)
        add(output, message.get("reasoning_content") or message.get("reasoning"))
        add(output, message.get("refusal"))
        add(output, members(message.get("audio")).get("transcript"))
        calls = [members(call.get("function")) for call in items(message.get("tool_calls"))]
        for call in [*calls, members(message.get("function_call"))]:
            add(output, call.get("name"))
            arguments = call.get("arguments")
            add(output, json_text(arguments) if isinstance(arguments, dict) else arguments)
        self._stale = self._stale or self._texts.chars > before


def _parts(texts: Texts, output: object, parts: list[object]) -> None:
    for part in items(parts):
        texts.add(output, part.get("text"))
        thinking = part.get("thinking")
        if isinstance(thinking, list):
            _parts(texts, output, thinking)
        else:
            texts.add(output, thinking)
