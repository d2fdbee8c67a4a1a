"""Reading requests of the Responses API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.errors import BadRequest
from gateway.providers import fields
from gateway.providers.base import Call, Route
from gateway.providers.body import Document
from gateway.providers.openai.chat import Options, hidden_prompt, hidden_reasoning, image_ceiling, long_cache
from gateway.providers.openai.tools import take_tools
from gateway.providers.tally import Tally, lazy_texts

MEMBERS = frozenset(
    [
        "model",
        "input",
        "instructions",
        "max_output_tokens",
        "max_tool_calls",
        "stream",
        "service_tier",
        "tools",
        "background",
        "previous_response_id",
        "conversation",
        "prompt",
        "models",
        "reasoning",
        "prompt_cache_retention",
        "context_management",
    ]
)
CAP_LEAST = 16
"""OpenAI answers 400 to a smaller ``max_output_tokens``."""
_TEXT_ITEMS = frozenset(
    [
        "message",
        "function_call",
        "custom_tool_call",
        "reasoning",
        "local_shell_call",
        "local_shell_call_output",
        "shell_call",
        "shell_call_output",
        "apply_patch_call",
        "apply_patch_call_output",
        "web_search_call",
        "code_interpreter_call",
        "file_search_call",
        "mcp_call",
        "mcp_list_tools",
        "mcp_approval_request",
        "mcp_approval_response",
        "tool_search_call",
        "tool_search_output",
        "computer_call",
        "compaction",
    ]
)
_TEXT_PARTS = frozenset({"input_text", "output_text", "text", "refusal", "summary_text", "reasoning_text"})


def read_responses(route: Route, body: bytes, options: Options) -> Call:
    document = Document(body)
    document.check_names(MEMBERS)
    root = document.root
    if fields.flag(root, "background"):
        raise BadRequest(
            "'background' responses are not supported: their usage is known only later. "
            "Send the request without it, streamed if it takes long.",
            param="background",
        )
    tally = Tally(document)
    model = _model(root)
    tally.tool_tokens += hidden_prompt(model, root)
    _take_references(root, tally)
    _take_input(root.get("input"), model, tally)
    if "tools" in root:
        take_tools(root, tally)
    tally.models += [fields.model_name(name, "models") for name in fields.items(root, "models")]
    cap = fields.positive(root, "max_output_tokens", fields.TOKENS_MAX)
    call = Call(
        route=route,
        model=model,
        streamed=fields.flag(root, "stream"),
        body=(body,),
        input_tokens_max=tally.input_tokens_max(),
        output_cap=cap,
        cap_floor=CAP_LEAST - 1,
        extra=tally.extra(),
        input_unbounded=tally.unbounded,
        models_also=tuple(tally.models),
        hidden_output=tally.hidden or hidden_reasoning(model, root, options),
        cache_ttl_1h=long_cache(document),
        tier=fields.word(root, "service_tier"),
        caps=() if cap is None else (document.cap_member(cap, "max_output_tokens"),),
        cap_slot=document.cap_slot("max_output_tokens") if cap is None else None,
        text_bytes=tally.text_bytes,
        passes=tally.passes,
    )
    if document.whole:
        call.prompt_texts = lazy_texts(body, ("input", "instructions", "tools", "text", "tool_choice"), tally)
    return call


def _model(root: Mapping[str, Any]) -> str:
    if root.get("model") is None and root.get("prompt") is not None:
        raise BadRequest(
            "'model' is missing: the stored prompt names one, but its price must be known beforehand. "
            "Name the model in the request.",
            param="model",
        )
    return fields.model_name(root.get("model"))


def _take_references(root: Mapping[str, Any], tally: Tally) -> None:
    if any(root.get(name) is not None for name in ("previous_response_id", "conversation", "prompt")):
        tally.reference()
    if root.get("context_management") is not None:
        tally.hidden = True  # compaction is a pass of its own over the whole context
        tally.passes = 2


def _take_input(given: object, model: str, tally: Tally) -> None:
    if given is None or isinstance(given, str):
        return
    if not isinstance(given, list):
        raise BadRequest("'input' must be a string or an array of items.", param="input")
    tally.messages += len(given)
    for item in given:
        if not isinstance(item, dict):
            raise BadRequest("Each item of 'input' must be an object.", param="input")
        _take_item(item, model, tally)


def _take_item(item: Mapping[str, Any], model: str, tally: Tally) -> None:
    kind = item.get("type", "message")
    if kind in ("function_call_output", "custom_tool_call_output", "computer_call_output"):
        output = item.get("output")
        for part in output if isinstance(output, list) else [output]:
            if isinstance(part, dict):
                _take_part(part, model, tally)
    elif kind == "image_generation_call":
        result = item.get("result")
        tally.image(image_ceiling(model, None), result if isinstance(result, str) else None)
    elif kind not in _TEXT_ITEMS:
        tally.reference()  # item_reference, and whatever is not known here
    content = item.get("content")
    if isinstance(content, list):
        for part in content:
            if isinstance(part, dict):
                _take_part(part, model, tally)


def _take_part(part: Mapping[str, Any], model: str, tally: Tally) -> None:
    kind = part.get("type")
    if kind in ("input_image", "computer_screenshot"):
        tally.image_url(part.get("image_url"), image_ceiling(model, part.get("detail")))
    elif kind == "input_audio":
        audio = part.get("input_audio")
        if isinstance(audio, dict):
            tally.audio(audio.get("data"), str(audio.get("format")))
        else:
            tally.reference()
    elif kind not in _TEXT_PARTS:
        tally.reference()
