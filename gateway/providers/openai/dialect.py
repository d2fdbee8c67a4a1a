"""The OpenAI dialect, and with other options that of every compatible API."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from gateway.errors import TollgateError
from gateway.metering.filter import UsageEventFilter
from gateway.metering.openai_chat import OPTIONS_BY_KIND, USUAL, OpenAiChatReader
from gateway.metering.openai_embeddings import OpenAiEmbeddingsReader
from gateway.metering.openai_images import OpenAiImagesReader
from gateway.metering.openai_responses import OpenAiResponsesReader
from gateway.metering.reading import UsageFilter, UsageReader
from gateway.providers.base import Call, Operation, Route
from gateway.providers.openai import chat, embeddings, images, responses, wording
from gateway.providers.openai.chat import Options
from gateway.providers.splice import cap_edits, splice

_METERED = {
    "/chat/completions": Route("chat.completions", Operation.CHAT),
    "/completions": Route("completions", Operation.CHAT),
    "/responses": Route("responses", Operation.CHAT),
    "/embeddings": Route("embeddings", Operation.EMBEDDING),
    "/images/generations": Route("images.generations", Operation.IMAGE),
}
_MODELS = Route("models.list", Operation.OTHER, metered=False)
_MODEL = Route("models.get", Operation.OTHER, metered=False)
_FREE_POSTS = {
    "/responses/input_tokens": Route("responses.input_tokens", Operation.OTHER, metered=False),
    "/moderations": Route("moderations", Operation.OTHER, metered=False),
}
_MODEL_PATH = re.compile(r"/models/[A-Za-z0-9._:/@+~%-]+\Z")


@dataclass(frozen=True, slots=True)
class OpenAiDialect:
    """OpenAI-shaped routes, bodies and errors."""

    kind: str = "openai"
    prefixes: tuple[str, ...] = ("/v1",)
    """What precedes ``/chat/completions``; ``base_url`` is what comes before that."""
    options: Options = field(default_factory=Options)
    free_posts: frozenset[str] = frozenset()
    """POST routes that cost nothing at this provider (OpenAI's own moderation and token counting)."""
    name: str = "openai"

    def match(self, method: str, path: str, query: Mapping[str, str]) -> Route | None:
        for prefix in self.prefixes:
            if not path.startswith(prefix):
                continue
            rest = path[len(prefix) :]
            if method == "POST":
                route = _METERED.get(rest) or (_FREE_POSTS[rest] if rest in self.free_posts else None)
            elif method == "GET":
                route = _MODELS if rest == "/models" else _MODEL if _MODEL_PATH.match(rest) else None
            else:
                route = None
            if route is not None:
                return route
        return None

    def read(self, route: Route, body: bytes, headers: Mapping[str, str]) -> Call:
        match route.name:
            case "chat.completions":
                return chat.read_chat(route, body, self.options)
            case "completions":
                return chat.read_completion(route, body, self.options)
            case "responses":
                return responses.read_responses(route, body, self.options)
            case "embeddings":
                return embeddings.read_embedding(route, body)
            case "images.generations":
                return images.read_image(route, body)
        raise ValueError(f"{route.name} is not a metered route of {self.kind}")

    def forward(self, call: Call, output_cap: int | None) -> list[bytes | memoryview]:
        return splice(call.body, (*call.edits, *cap_edits(call.caps, call.cap_slot, output_cap)))

    def reader(self, call: Call, content_type: str) -> UsageReader:
        chat_options = OPTIONS_BY_KIND.get(self.kind, USUAL)
        match call.route.name:
            case "responses":
                return OpenAiResponsesReader(chat_options.cost)
            case "embeddings":
                return OpenAiEmbeddingsReader(chat_options.cost)
            case "images.generations":
                return OpenAiImagesReader(call.image_label, chat_options.cost)
        return OpenAiChatReader(chat_options)

    def usage_filter(self, call: Call) -> UsageFilter | None:
        return UsageEventFilter() if call.usage_injected else None

    def error(self, error: TollgateError, request_id: str) -> bytes:
        return wording.error_body(error)

    def stream_error(
        self, route: Route, error: TollgateError, request_id: str, *, first: bool = False
    ) -> bytes:
        return wording.stream_frame(route, error)

    def auth_headers(self, api_key: str) -> dict[str, str]:
        return {"authorization": f"Bearer {api_key}"}
