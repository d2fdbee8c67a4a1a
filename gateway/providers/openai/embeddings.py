"""Reading embeddings: input only."""

from __future__ import annotations

from gateway.errors import BadRequest
from gateway.providers import fields
from gateway.providers.base import Call, Route
from gateway.providers.body import Document
from gateway.providers.tally import Tally, lazy_texts

MEMBERS = frozenset({"model", "input", "service_tier"})


def read_embedding(route: Route, body: bytes) -> Call:
    document = Document(body)
    document.check_names(MEMBERS)
    root = document.root
    given = root.get("input")
    if not isinstance(given, str | list) or not given:
        raise BadRequest("'input' must be a string, or an array of strings or tokens.", param="input")
    tally = Tally(document)
    parts = given if isinstance(given, list) else [given]
    text = all(isinstance(part, str) for part in parts)
    tally.messages = len(parts) if text or isinstance(parts[0], list) else 1
    if not text and not all(type(part) is int for part in parts) and not _token_arrays(parts):
        tally.reference()  # multimodal inputs of compatible servers, by address
    call = Call(
        route=route,
        model=fields.model_name(root.get("model")),
        streamed=False,
        body=(body,),
        input_tokens_max=tally.input_tokens_max(),
        output_cap=0,
        elastic=False,
        input_unbounded=tally.unbounded,
        tier=fields.word(root, "service_tier"),
        text_bytes=tally.text_bytes,
    )
    if document.whole and text:
        call.prompt_texts = lazy_texts(body, ("input",), tally)
    return call


def _token_arrays(parts: list[object]) -> bool:
    return all(isinstance(part, list) and all(type(token) is int for token in part) for part in parts)
