"""Reading chat completions and legacy completions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import orjson

from gateway.errors import BadRequest
from gateway.providers import ceilings, fields
from gateway.providers.base import Call, Route
from gateway.providers.body import Document
from gateway.providers.openai.tools import take_tools
from gateway.providers.splice import CapMember, CapSlot, Edit
from gateway.providers.tally import Tally, known_tool, lazy_texts

CHAT_MEMBERS = frozenset(
    [
        "model",
        "messages",
        "max_tokens",
        "max_completion_tokens",
        "n",
        "best_of",
        "stream",
        "stream_options",
        "service_tier",
        "tools",
        "functions",
        "modalities",
        "models",
        "plugins",
        "prediction",
        "web_search_options",
        "search_parameters",
        "reasoning",
        "reasoning_effort",
        "max_tool_calls",
        "prompt_cache_retention",
    ]
)
COMPLETION_MEMBERS = frozenset(
    [
        "model",
        "prompt",
        "max_tokens",
        "max_completion_tokens",
        "n",
        "best_of",
        "stream",
        "stream_options",
        "service_tier",
        "models",
    ]
)
_STREAM_OPTIONS = frozenset({"include_usage"})
_CAPS = ("max_tokens", "max_completion_tokens")
_EXTRAS = frozenset(
    {"web_search_options", "search_parameters", "models", "plugins", "prediction", "modalities"}
)
"""What `_take_extras` looks at: most requests have none of it."""
_PROMPTS_MAX = 2_048
_SEARCH_RESULTS_DEFAULT = 20
_TEXT_PARTS = frozenset(
    {"text", "refusal", "thinking", "reasoning", "redacted_thinking", "tool_use", "tool_result"}
)

_VISIBLE = re.compile(
    r"(?:gpt-3\.5|gpt-4|chatgpt-4o|ft:gpt-3\.5|ft:gpt-4|davinci|babbage)|.*-chat(?:-|\Z)|gpt-5-chat"
)
"""Models of OpenAI that do not reason: every billed output token shows in the reply."""
_HOSTED_LOOP = re.compile(r"(?:groq/)?compound|.*:online\Z|.*-search-(?:preview|api)")
"""Models that run server-side tools of their own without being told (Groq's compound, search models)."""


@dataclass(frozen=True, slots=True)
class Options:
    """How an OpenAI-compatible API differs."""

    cap_name: str = "max_tokens"
    """The cap to add to a chat request that has none."""
    inject_usage: bool = True
    """Whether ``stream_options.include_usage`` may be added to streams."""
    hides_reasoning: bool | None = None
    """Whether reasoning is billed that the reply does not show; None: by the model's name, as at OpenAI."""


def hidden_prompt(model: str, root: Mapping[str, Any]) -> int:
    """Tokens of the prompt that a provider puts before every request to some models."""
    names = model
    if "models" in root:
        names = " ".join([model, *[name for name in fields.items(root, "models") if isinstance(name, str)]])
    return ceilings.GROK_PROMPT_TOKENS if "grok" in names else 0


@lru_cache(maxsize=1024)
def _shows_all(model: str) -> bool:
    return _VISIBLE.match(model) is not None


@lru_cache(maxsize=1024)
def _runs_tools(model: str) -> bool:
    return _HOSTED_LOOP.match(model) is not None


def hidden_reasoning(model: str, root: Mapping[str, Any], options: Options) -> bool:
    if options.hides_reasoning is not None:
        return (
            options.hides_reasoning
            or root.get("reasoning_format") == "hidden"
            or root.get("include_reasoning") is False
        )
    return not _shows_all(model)


def read_chat(route: Route, body: bytes, options: Options) -> Call:
    document = Document(body)
    document.check_names(CHAT_MEMBERS)
    root = document.root
    model = fields.model_name(root.get("model"))
    tally = Tally(document)
    tally.tool_tokens += hidden_prompt(model, root)
    _take_messages(root, model, tally)
    if "tools" in root or "functions" in root:
        take_tools(root, tally)
    kinds = _take_extras(root, model, tally)
    choices = _choices(root)
    tally.output_tokens *= choices
    call = _call(
        route,
        document,
        tally,
        model,
        choices,
        options,
        options.cap_name,
    )
    call.hidden_output = tally.hidden or len(kinds) > 1 or hidden_reasoning(model, root, options)
    call.output_kinds = kinds
    call.cache_ttl_1h = long_cache(document)
    names = ("messages", "tools", "functions", "response_format", "prediction", "tool_choice")
    if document.whole:
        call.prompt_texts = lazy_texts(body, names, tally)
    return call


def read_completion(route: Route, body: bytes, options: Options) -> Call:
    document = Document(body)
    document.check_names(COMPLETION_MEMBERS)
    root = document.root
    model = fields.model_name(root.get("model"))
    tally = Tally(document)
    prompts = _prompts(root)
    tally.messages = prompts
    if isinstance(root.get("models"), list):
        tally.models += [fields.model_name(name, "models") for name in root["models"]]
    call = _call(route, document, tally, model, _choices(root) * prompts, options, "max_tokens")
    call.hidden_output = hidden_reasoning(model, root, options) and not model.endswith("-instruct")
    if document.whole and _is_text(root.get("prompt")):
        call.prompt_texts = lazy_texts(body, ("prompt", "suffix"), tally)
    return call


def _choices(root: Mapping[str, Any]) -> int:
    if "n" not in root and "best_of" not in root:
        return 1
    return max(fields.positive(root, name, fields.CHOICES_MAX) or 1 for name in ("n", "best_of"))


def _call(
    route: Route,
    document: Document,
    tally: Tally,
    model: str,
    choices: int,
    options: Options,
    cap_name: str,
) -> Call:
    """What chat and completions have in common: caps, stream flag, usage flag, tier."""
    root = document.root
    streamed = fields.flag(root, "stream")
    caps: tuple[CapMember, ...] = ()
    if "max_tokens" in root or "max_completion_tokens" in root:
        caps = tuple(
            document.cap_member(value, name)
            for name in _CAPS
            if (value := fields.positive(root, name, fields.TOKENS_MAX)) is not None
        )
    slot: CapSlot | None = None if caps else document.cap_slot(cap_name)
    edit = _usage_edit(document) if streamed and options.inject_usage else None
    output_cap = max(cap.value for cap in caps) if caps else None
    call = Call(route, model, streamed, (document.body,), tally.input_tokens_max(), output_cap, choices)
    call.extra = tally.extra()
    call.input_unbounded = tally.unbounded
    call.models_also = tuple(tally.models)
    call.tier = fields.word(root, "service_tier")
    call.caps = caps
    call.cap_slot = slot
    call.text_bytes = tally.text_bytes
    call.passes = tally.passes
    if edit is not None:
        call.usage_injected, call.edits = True, (edit,)
    return call


def _usage_edit(document: Document) -> Edit | None:
    """The edit that asks for usage at the end of a stream; None when the client did."""
    root = document.root
    options = root.get("stream_options")
    if options is None:
        if "stream_options" not in root:
            return document.insertion(b'"stream_options":{"include_usage":true}')
        span = document.span("stream_options")
        return Edit(span.start, span.end, b'{"include_usage":true}')
    if not isinstance(options, dict):
        raise BadRequest("'stream_options' must be an object.", param="stream_options")
    document.check_names(_STREAM_OPTIONS, "stream_options")
    if "include_usage" not in options:
        return document.insertion(b'"include_usage":true', "stream_options")
    asked = options["include_usage"]
    if asked is True:
        return None
    if asked is not None and asked is not False:
        raise BadRequest(
            "'stream_options.include_usage' must be true or false.", param="stream_options.include_usage"
        )
    span = document.span("stream_options", "include_usage")
    return Edit(span.start, span.end, b"true")


# ------------------------------------------------------------------ the prompt


def _take_messages(root: Mapping[str, Any], model: str, tally: Tally) -> None:
    messages = root.get("messages")
    if not isinstance(messages, list):
        raise BadRequest("'messages' must be an array of messages.", param="messages")
    tally.messages += len(messages)
    for message in messages:
        if not isinstance(message, dict):
            raise BadRequest("Each of 'messages' must be an object.", param="messages")
        content = message.get("content")
        if isinstance(content, list):
            for part in content:
                if isinstance(part, dict):
                    _take_part(part, model, tally)
        if message.get("audio") is not None:
            tally.reference()  # an earlier spoken answer, by its id


def _take_part(part: Mapping[str, Any], model: str, tally: Tally) -> None:
    match part.get("type"):
        case "text" if isinstance(part.get("text"), str):
            return
        case "image_url":
            image = part.get("image_url")
            url, detail = (
                (image.get("url"), image.get("detail")) if isinstance(image, dict) else (image, None)
            )
            tally.image_url(url, image_ceiling(model, detail))
        case "input_audio":
            audio = part.get("input_audio")
            if isinstance(audio, dict):
                tally.audio(audio.get("data"), str(audio.get("format")))
            else:
                tally.reference()
        case kind if kind not in _TEXT_PARTS:
            tally.reference()  # files, videos, and whatever is not known here


def image_ceiling(model: str, detail: object) -> int:
    """Tokens of one image in an OpenAI-like request."""
    name = model.rpartition("/")[2]
    if name.startswith("gpt-4o-mini"):
        return ceilings.OPENAI_IMAGE_4O_MINI_TOKENS
    if not name.startswith(("gpt-", "o1", "o3", "o4", "chatgpt-", "computer-use")):
        return ceilings.IMAGE_TOKENS
    return ceilings.OPENAI_IMAGE_ORIGINAL_TOKENS if detail == "original" else ceilings.OPENAI_IMAGE_TOKENS


def _take_extras(root: Mapping[str, Any], model: str, tally: Tally) -> tuple[str, ...]:
    """Searches, fallback models, predictions; returns the buckets that output may fall in."""
    if _EXTRAS.isdisjoint(root) and not _runs_tools(model):
        return ("output",)
    if root.get("web_search_options") is not None or _runs_tools(model):
        tally.tool(ceilings.OPENAI_TOOLS["web_search"], None)
        tally.reference()
    if (live := fields.child(root, "search_parameters")) and live.get("mode") != "off":
        sources = fields.positive(live, "max_search_results", 1_000, where="search_parameters.")
        tally.tool(ceilings.OPENAI_TOOLS["x_search"], 1)
        tally.searches += sources or _SEARCH_RESULTS_DEFAULT  # billed by the source
    for name in fields.items(root, "models"):
        tally.models.append(fields.model_name(name, "models"))
    for index, plugin in enumerate(fields.items(root, "plugins")):
        _take_plugin(plugin, f"plugins[{index}]", tally)
    if root.get("prediction") is not None:
        # Rejected tokens of a prediction are billed as output, beside what is said.
        tally.output_tokens += len(orjson.dumps(root["prediction"]))
    kinds = fields.items(root, "modalities")
    spoken = ("output_audio",) if "audio" in kinds else ()
    drawn = ("output_image",) if "image" in kinds else ()
    return ("output", *spoken, *drawn)


def _take_plugin(plugin: object, where: str, tally: Tally) -> None:
    """OpenRouter's plugins: the web search has a ceiling, mending answers is free, others are not known."""
    name = plugin.get("id") if isinstance(plugin, dict) else None
    if name == "response-healing":
        return
    known_tool({"web": ceilings.OPENAI_TOOLS["openrouter:web_search"]}, name, where + ".id")
    results = (
        fields.positive(plugin, "max_results", 100, where=where + ".") if isinstance(plugin, dict) else None
    )
    tally.tool(ceilings.OPENAI_TOOLS["openrouter:web_search"], 1)
    tally.searches += results or ceilings.USES_DEFAULT


def _prompts(root: Mapping[str, Any]) -> int:
    """How many prompts a completions request has: a string or tokens are one, an array of those is many."""
    prompt = root.get("prompt")
    if prompt is None or isinstance(prompt, str):
        return 1
    if not isinstance(prompt, list) or not prompt:
        raise BadRequest("'prompt' must be a string, or an array of strings or tokens.", param="prompt")
    if all(type(item) is int for item in prompt):
        return 1
    if len(prompt) > _PROMPTS_MAX or not all(isinstance(item, str | list) for item in prompt):
        raise BadRequest(
            f"'prompt' must be at most {_PROMPTS_MAX} strings or arrays of tokens.", param="prompt"
        )
    return len(prompt)


def _is_text(prompt: object) -> bool:
    return isinstance(prompt, str) or (
        isinstance(prompt, list) and all(isinstance(item, str) for item in prompt)
    )


def long_cache(document: Document) -> bool:
    """Whether the request may write to a cache at more than the usual price."""
    retention = document.root.get("prompt_cache_retention")
    return retention not in (None, "in_memory", "in-memory") or document.asks_long_ttl()
