"""The Anthropic dialect: messages, and counting their tokens."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from gateway.errors import BadRequest, TollgateError
from gateway.metering.anthropic import AnthropicReader
from gateway.metering.reading import UsageFilter, UsageReader
from gateway.providers import ceilings, fields
from gateway.providers.base import Call, Operation, Route
from gateway.providers.body import Document
from gateway.providers.splice import cap_edits, splice
from gateway.providers.tally import Tally, known_tool, lazy_texts

MEMBERS = frozenset(
    [
        "model",
        "messages",
        "system",
        "max_tokens",
        "stream",
        "thinking",
        "service_tier",
        "speed",
        "inference_geo",
        "tools",
        "mcp_servers",
        "container",
        "context_management",
        "fallbacks",
    ]
)
_THINKING = frozenset({"type", "budget_tokens"})
_MESSAGES = Route("messages", Operation.CHAT)
_COUNT = Route("messages.count_tokens", Operation.OTHER, metered=False)
_MODELS = Route("models.list", Operation.OTHER, metered=False)
_MODEL = Route("models.get", Operation.OTHER, metered=False)
_MODEL_PATH = re.compile(r"/v1/models/[A-Za-z0-9._:@-]+\Z")

_DATE = re.compile(r"_\d{8}\Z")
_USES_MAX = 1_000
_DEPTH_MAX = 8
_VISIBLE = re.compile(
    r"(?:.*[./])?claude-(?:2|instant|3|(?:opus|sonnet|haiku)-4(?:-\d{1,2})?(?:[-@]\d{8})?\Z)"
)
"""Models that think only when they are told to; later ones may decide for themselves."""
_TEXT_BLOCKS = frozenset(
    [
        "text",
        "tool_use",
        "server_tool_use",
        "mcp_tool_use",
        "thinking",
        "redacted_thinking",
        "search_result",
        "tool_reference",
        "compaction",
        "web_search_tool_result",
        "web_search_result",
        "code_execution_tool_result",
        "bash_code_execution_tool_result",
        "text_editor_code_execution_tool_result",
        "tool_search_tool_result",
        "web_fetch_tool_result",
    ]
)
_ERROR_TYPES = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}


@dataclass(frozen=True, slots=True)
class AnthropicDialect:
    name: str = "anthropic"
    kind: str = "anthropic"

    def match(self, method: str, path: str, query: Mapping[str, str]) -> Route | None:
        match method, path:
            case "POST", "/v1/messages":
                return _MESSAGES
            case "POST", "/v1/messages/count_tokens":
                return _COUNT
            case "GET", "/v1/models":
                return _MODELS
            case "GET", _ if _MODEL_PATH.match(path):
                return _MODEL
        return None

    def read(self, route: Route, body: bytes, headers: Mapping[str, str]) -> Call:
        document = Document(body)
        document.check_names(MEMBERS)
        root = document.root
        model = fields.model_name(root.get("model"))
        cap = fields.positive(root, "max_tokens", fields.TOKENS_MAX)
        if cap is None:
            raise BadRequest("'max_tokens' is missing; this API requires it.", param="max_tokens")
        tally = Tally(document)
        tally.text_growth = nfkc_growth(body)
        _take_messages(root, tally)
        _take_tools(root, cap, tally)
        floor, thinks = _thinking(document, model)
        call = Call(
            route=route,
            model=model,
            streamed=fields.flag(root, "stream"),
            body=(body,),
            input_tokens_max=tally.input_tokens_max(),
            output_cap=cap,
            cap_floor=floor,
            extra=tally.extra(),
            input_unbounded=tally.unbounded,
            models_also=tuple(tally.models),
            hidden_output=tally.hidden or thinks,
            cache_ttl_1h=document.asks_long_ttl(),
            tier=_tier(root),
            speed=fields.word(root, "speed"),
            geo=fields.word(root, "inference_geo"),
            caps=(document.cap_member(cap, "max_tokens"),),
            text_bytes=tally.text_bytes,
            passes=tally.passes,
        )
        if document.whole:
            call.prompt_texts = lazy_texts(
                body, ("system", "messages", "tools", "tool_choice", "output_config"), tally
            )
        return call

    def forward(self, call: Call, output_cap: int | None) -> list[bytes | memoryview]:
        return splice(call.body, cap_edits(call.caps, call.cap_slot, output_cap))

    def reader(self, call: Call, content_type: str) -> UsageReader:
        return AnthropicReader(call.cache_ttl_1h)

    def usage_filter(self, call: Call) -> UsageFilter | None:
        return None

    def error(self, error: TollgateError, request_id: str) -> bytes:
        return orjson.dumps(_error_object(error, request_id))

    def stream_error(
        self, route: Route, error: TollgateError, request_id: str, *, first: bool = False
    ) -> bytes:
        # Without the `event: error` line the SDKs skip the frame in silence.
        return b"event: error\ndata: " + orjson.dumps(_error_object(error, request_id)) + b"\n\n"

    def auth_headers(self, api_key: str) -> dict[str, str]:
        return {"x-api-key": api_key}


def _error_object(error: TollgateError, request_id: str) -> dict[str, Any]:
    fallback = "invalid_request_error" if error.status < 500 else "api_error"
    details = {"error_code": error.code}
    if error.param is not None:
        details["param"] = error.param
    return {
        "type": "error",
        "error": {
            "type": _ERROR_TYPES.get(error.status, fallback),
            "message": error.message,
            "details": details,
        },
        "request_id": request_id,
    }


def _tier(root: Mapping[str, Any]) -> str | None:
    """``standard_only`` forbids the priority tier that ``auto``, the default, may use."""
    asked = fields.word(root, "service_tier")
    return "standard" if asked == "standard_only" else asked


def _thinking(document: Document, model: str) -> tuple[int, bool]:
    """(budget that the cap must exceed, whether tokens may be billed that the reply does not show)."""
    document.check_names(_THINKING, "thinking")
    thinking = fields.child(document.root, "thinking")
    kind = fields.word(thinking, "type", where="thinking.")
    budget = fields.positive(thinking, "budget_tokens", fields.TOKENS_MAX, where="thinking.") or 0
    if kind == "disabled":
        return 0, False
    return budget, kind is not None or not _VISIBLE.match(model)


# ------------------------------------------------------------------ the prompt


def _take_messages(root: Mapping[str, Any], tally: Tally) -> None:
    messages = root.get("messages")
    if not isinstance(messages, list):
        raise BadRequest("'messages' must be an array of messages.", param="messages")
    tally.messages += len(messages)
    _take_blocks(root.get("system"), tally, _DEPTH_MAX)
    for message in messages:
        if not isinstance(message, dict):
            raise BadRequest("Each of 'messages' must be an object.", param="messages")
        _take_blocks(message.get("content"), tally, _DEPTH_MAX)


def _take_blocks(content: object, tally: Tally, depth: int) -> None:
    if isinstance(content, dict):
        content = [content]
    if not isinstance(content, list):
        return
    if depth == 0:
        tally.reference()
        return
    for block in content:
        if not isinstance(block, dict):
            continue
        kind = block.get("type")
        if kind == "image":
            source = fields.child(block, "source")
            data = source.get("data") if source.get("type") == "base64" else None
            tally.image(ceilings.ANTHROPIC_IMAGE_TOKENS, data if isinstance(data, str) else None)
        elif kind == "document":
            _take_document(block, tally, depth)
        elif kind == "tool_result":
            _take_blocks(block.get("content"), tally, depth - 1)
        elif kind in _TEXT_BLOCKS:
            if not isinstance(block.get("content"), str):
                _take_blocks(block.get("content"), tally, depth - 1)
        elif kind is not None and not _is_result(kind):
            tally.reference()  # container_upload, and whatever is not known here


def _is_result(kind: object) -> bool:
    """What server-side tools returned earlier, given back as text: their bytes bound it."""
    return isinstance(kind, str) and kind.endswith(("_result", "_output", "_error"))


def _take_document(block: Mapping[str, Any], tally: Tally, depth: int) -> None:
    source = fields.child(block, "source")
    match source.get("type"):
        case "text":
            return
        case "content":
            _take_blocks(source.get("content"), tally, depth - 1)
        case _:
            tally.reference()  # a PDF unpacks to far more than its bytes; URLs and files are elsewhere


def _take_tools(root: Mapping[str, Any], cap: int, tally: Tally) -> None:
    tools = fields.items(root, "tools")
    servers = fields.items(root, "mcp_servers")
    if tools or servers:
        tally.tool_tokens += ceilings.ANTHROPIC_TOOLS_PROMPT
    for index, tool in enumerate(tools):
        _take_tool(tool, f"tools[{index}]", tally)
    for _ in servers:
        tally.tool(ceilings.ANTHROPIC_TOOLS["mcp_toolset"], None)
    if root.get("container") is not None:
        tally.tool(ceilings.ANTHROPIC_TOOLS["code_execution"], None)
        tally.reference()
    if root.get("context_management") is not None:
        # A compaction pass reads the whole context and is billed beside the answer.
        tally.hidden = True
        tally.passes += 1
        tally.output_tokens += cap
    for fallback in fields.items(root, "fallbacks"):
        name = fallback.get("model") if isinstance(fallback, dict) else fallback
        tally.models.append(fields.model_name(name, "fallbacks.model"))


def _take_tool(tool: object, where: str, tally: Tally) -> None:
    if not isinstance(tool, dict):
        raise BadRequest(f"{where} must be an object that describes a tool.", param=where)
    name = tool.get("type")
    name = "custom" if name is None else _DATE.sub("", name) if isinstance(name, str) else name
    ceiling = known_tool(ceilings.ANTHROPIC_TOOLS, name, where + ".type")
    uses = fields.positive(tool, "max_uses", _USES_MAX, where=where + ".")
    tally.tool(ceiling, uses)
    if name == "advisor":
        most = fields.positive(tool, "max_tokens", fields.TOKENS_MAX, where=where + ".")
        if most is None:
            raise BadRequest(
                f"{where}.max_tokens is missing; without it the advisor's answer has no bound.",
                param=where + ".max_tokens",
            )
        times = ceilings.USES_DEFAULT if uses is None else uses
        tally.models.append(fields.model_name(tool.get("model"), where + ".model"))
        tally.output_tokens += most * times
        tally.passes += times


# ------------------------------------------------------------------ tokens beyond bytes

_WINDOW = 256 << 10
_GROWS_MUCH = re.compile(rb"\xef[\xac-\xb7]|\xe3[\x88-\x8f]|\\u[fF][b-dB-D]|\\u3[23]")
_GROWS = re.compile(
    rb"\xc2[\xa8-\xbe]|\xe2\x80[\xb3-\xbe]|\xe2[\x82-\x93]|\xe1[\xbe\xbf]|\xf0\x9f[\x84-\x88]"
)
_GROWS_MUCH_BYTES = 30
"""U+FDFA: 3 bytes become 33; U+3316: 3 become 18."""
_GROWS_BYTES = 6


def nfkc_growth(body: bytes) -> int:
    """Bytes by which compatibility normalisation (NFKC) may lengthen the text.

    Anthropic's published tokenizer applies it first, so one byte can give five tokens (U+FDFA); nothing else
    breaks the rule of at most one token a byte.
    """
    growth = 0
    for at in range(0, len(body), _WINDOW):
        piece = body if len(body) <= _WINDOW else body[at : at + _WINDOW]
        if not piece.isascii():
            growth += _GROWS_BYTES * len(_GROWS.findall(piece))
        elif b"\\u" not in piece:
            continue
        growth += _GROWS_MUCH_BYTES * len(_GROWS_MUCH.findall(piece))
    return growth
