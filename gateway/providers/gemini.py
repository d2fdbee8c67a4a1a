"""The Gemini dialect: the model and the verb are in the path, names may be camelCase or snake_case."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import orjson

from gateway.errors import BadRequest, TollgateError
from gateway.metering.gemini import GeminiReader
from gateway.metering.reading import UsageFilter, UsageReader
from gateway.providers import fields
from gateway.providers.base import Call, Operation, Route
from gateway.providers.body import Document
from gateway.providers.gemini_parts import take_contents, take_tools
from gateway.providers.spelling import both, pick
from gateway.providers.splice import cap_edits, splice
from gateway.providers.tally import Tally, lazy_texts

MEMBERS = both(
    "contents", "tools", "toolConfig", "systemInstruction", "generationConfig", "cachedContent",
    "serviceTier", "model", "content", "requests",
)  # fmt: skip
CONFIG_MEMBERS = both("maxOutputTokens", "candidateCount", "responseModalities", "thinkingConfig")
CANDIDATES_MAX = 8
"""The API's own maximum."""
_REQUESTS_MAX = 2_048

_VERBS = {
    "generateContent": Route("generateContent", Operation.CHAT, streamed=False),
    "streamGenerateContent": Route("streamGenerateContent", Operation.CHAT, streamed=True),
    "embedContent": Route("embedContent", Operation.EMBEDDING, streamed=False),
    "batchEmbedContents": Route("batchEmbedContents", Operation.EMBEDDING, streamed=False),
    "countTokens": Route("countTokens", Operation.OTHER, metered=False, streamed=False),
}
_MODELS = Route("models.list", Operation.OTHER, metered=False)
_MODEL = Route("models.get", Operation.OTHER, metered=False)
_PATH = re.compile(r"/(?:v1|v1beta|v1alpha)/models/([A-Za-z0-9._:@-]+)\Z")
_LIST = frozenset({"/v1/models", "/v1beta/models", "/v1alpha/models"})
_MASKS = ("fields", "$fields", "$.fields")
"""Query parameters that leave members out of the reply, usage among them."""
_FORMS = ("alt", "$alt", "$.alt")
_READABLE = ("", "json", "sse")
"""Other forms of a reply (``proto``, ``media``) do not show its usage, nor its text."""
_VISIBLE = re.compile(r"gemini-(?:1|2\.0)|gemma|learnlm|embedding")
_STATUS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    402: "RESOURCE_EXHAUSTED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    408: "DEADLINE_EXCEEDED",
    413: "INVALID_ARGUMENT",
    415: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


@dataclass(frozen=True, slots=True)
class GeminiDialect:
    name: str = "gemini"
    kind: str = "gemini"

    def match(self, method: str, path: str, query: Mapping[str, str]) -> Route | None:
        if any(mask in query for mask in _MASKS):
            return None
        if any(name in _FORMS and form.lower() not in _READABLE for name, form in query.items()):
            return None
        if method == "GET" and path in _LIST:
            return _MODELS
        found = _PATH.match(path)
        if found is None:
            return None
        model, colon, verb = found.group(1).rpartition(":")
        if method == "GET":
            return _MODEL if not colon else None
        route = _VERBS.get(verb) if method == "POST" and model else None
        if route is None:
            return None
        array = verb == "streamGenerateContent" and query.get("alt") != "sse"
        return replace(route, model=model, array_stream=array)

    def read(self, route: Route, body: bytes, headers: Mapping[str, str]) -> Call:
        if route.model is None:
            raise ValueError(f"{route.name} carries no model")
        document = Document(body)
        document.check_names(MEMBERS, camel=True)
        _check_model(document.root, route.model)
        if route.operation is Operation.EMBEDDING:
            return _read_embedding(route, route.model, document)
        return _read_generation(route, route.model, document)

    def forward(self, call: Call, output_cap: int | None) -> list[bytes | memoryview]:
        return splice(call.body, cap_edits(call.caps, call.cap_slot, output_cap))

    def reader(self, call: Call, content_type: str) -> UsageReader:
        return GeminiReader()

    def usage_filter(self, call: Call) -> UsageFilter | None:
        return None

    def error(self, error: TollgateError, request_id: str) -> bytes:
        return orjson.dumps(_error_object(error, request_id))

    def stream_error(
        self, route: Route, error: TollgateError, request_id: str, *, first: bool = False
    ) -> bytes:
        # The Python SDK looks for `{"error":` at the very start, and crashes on comments and event lines.
        frame = orjson.dumps(_error_object(error, request_id))
        if route.array_stream:
            return (b"[" if first else b",\r\n") + frame + b"\r\n]"
        return b"data: " + frame + b"\r\n\r\n"

    def auth_headers(self, api_key: str) -> dict[str, str]:
        return {"x-goog-api-key": api_key}


def _error_object(error: TollgateError, request_id: str) -> dict[str, Any]:
    """``error`` is the only key, and ``code`` an integer: the SDKs rely on both."""
    info = {
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": error.code,
        "domain": "tollgate",
        "metadata": {"request_id": request_id, **({"param": error.param} if error.param else {})},
    }
    status = _STATUS.get(error.status, "INVALID_ARGUMENT" if error.status < 500 else "INTERNAL")
    return {"error": {"code": error.status, "message": error.message, "status": status, "details": [info]}}


def _check_model(holder: Mapping[str, Any], model: str, where: str = "") -> None:
    """A body may repeat the model of the path; another one there would be a way around its price."""
    named = holder.get("model")
    if named is not None and named not in (model, f"models/{model}"):
        raise BadRequest(f"'{where}model' differs from the model in the path.", param=where + "model")


def _read_generation(route: Route, model: str, document: Document) -> Call:
    root = document.root
    tally = Tally(document)
    take_contents(root, tally)
    take_tools(root, tally)
    config_name, config = _config(document)
    n_name, _ = pick(config, "candidateCount")
    cap_name, _ = pick(config, "maxOutputTokens")
    cap = fields.positive(config, cap_name, fields.TOKENS_MAX, where=config_name + ".")
    kinds = _output_kinds(model, config)
    tier_name, _ = pick(root, "serviceTier")
    call = Call(
        route=route,
        model=model,
        streamed=bool(route.streamed),
        body=(document.body,),
        input_tokens_max=tally.input_tokens_max(),
        output_cap=cap,
        choices=fields.positive(config, n_name, CANDIDATES_MAX, where=config_name + ".") or 1,
        extra=tally.extra(),
        input_unbounded=tally.unbounded,
        output_kinds=kinds,
        hidden_output=tally.hidden or len(kinds) > 1 or _thinks(model, config),
        tier=fields.word(root, tier_name),
        caps=() if cap is None else (document.cap_member(cap, config_name, cap_name),),
        cap_slot=document.cap_slot(config_name, cap_name) if cap is None else None,
        text_bytes=tally.text_bytes,
        passes=tally.passes,
    )
    if document.whole:
        names = (
            "contents",
            "systemInstruction",
            "system_instruction",
            "tools",
            "generationConfig",
            "generation_config",
        )
        call.prompt_texts = lazy_texts(document.body, names, tally)
    return call


def _config(document: Document) -> tuple[str, Mapping[str, Any]]:
    name, _ = pick(document.root, "generationConfig")
    config = fields.child(document.root, name)
    document.check_names(CONFIG_MEMBERS, name, camel=True)
    return name, config


def _output_kinds(model: str, config: Mapping[str, Any]) -> tuple[str, ...]:
    name, _ = pick(config, "responseModalities")
    asked = {str(kind).upper() for kind in fields.items(config, name)}
    drawn = ("output_image",) if "IMAGE" in asked or "image" in model else ()
    spoken = ("output_audio",) if "AUDIO" in asked or "tts" in model or "audio" in model else ()
    return ("output", *drawn, *spoken)


def _thinks(model: str, config: Mapping[str, Any]) -> bool:
    if _VISIBLE.match(model):
        return False
    name, _ = pick(config, "thinkingConfig")
    thinking = fields.child(config, name)
    budget, _ = pick(thinking, "thinkingBudget")
    return thinking.get(budget) != 0


def _read_embedding(route: Route, model: str, document: Document) -> Call:
    root = document.root
    tally = Tally(document)
    requests: list[Any] = [root]
    if route.name == "batchEmbedContents":
        requests = fields.items(root, "requests")
        if not requests or len(requests) > _REQUESTS_MAX:
            raise BadRequest(f"'requests' must have 1 to {_REQUESTS_MAX} entries.", param="requests")
    for index, request in enumerate(requests):
        if not isinstance(request, dict):
            raise BadRequest("Each of 'requests' must be an object.", param=f"requests[{index}]")
        if request is not root:
            _check_model(request, model, f"requests[{index}].")
        content = request.get("content")
        if not isinstance(content, dict):
            raise BadRequest("'content' must be an object with parts.", param="content")
        take_contents({"contents": [content]}, tally)
    return Call(
        route=route,
        model=model,
        streamed=False,
        body=(document.body,),
        input_tokens_max=tally.input_tokens_max(),
        output_cap=0,
        elastic=False,
        extra=tally.extra(),
        input_unbounded=tally.unbounded,
        text_bytes=tally.text_bytes,
        prompt_texts=lazy_texts(document.body, ("content", "requests"), tally) if document.whole else None,
    )
