"""What a call brings, checked against the models of its operation: parameters and body.

Every fault that is found is told, by the name of the member; values are never repeated, as they may be secrets.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, TypeVar, get_origin

import orjson
from aiohttp import web
from pydantic import BaseModel, ValidationError

from gateway.api.operation import AnyOperation
from gateway.errors import BadRequest, BodyTooLarge, RequestTimeout, UnsupportedEncoding
from gateway.proxy.body_room import Share

BODY_TIMEOUT_S = 60.0
"""For the whole body: it is a form, not an upload."""
NAMED_MAX = 20

Model = TypeVar("Model", bound=BaseModel)


def take_params(
    operation: AnyOperation, request: web.BaseRequest, path_params: Mapping[str, str]
) -> BaseModel:
    """Path and query parameters as one value. Raises `BadRequest`."""
    given: dict[str, Any] = {}
    for name in request.query:
        values = request.query.getall(name)
        if name in path_params:
            raise BadRequest(f"{name}: belongs in the path, not in the query", param=name)
        if _is_list(operation.params, name):
            given[name] = values
        elif len(values) > 1:
            raise BadRequest(f"{name}: is given {len(values)} times", param=name)
        else:
            given[name] = values[0]
    params: type[BaseModel] = operation.params
    return validated(params, {**given, **path_params})


async def take_body(operation: AnyOperation, request: web.BaseRequest, share: Share) -> BaseModel:
    """The body as a value, whatever its content-type says: `curl -d` calls everything a form. No cookie signs anyone
    in here, so a page elsewhere gains nothing by sending forms. Raises `BadRequest` and its kin, `GatewayBusy`."""
    content = await _read(request, operation.body_bytes_max, share)
    body: type[BaseModel] = operation.body
    if not operation.has_body:
        if content.strip():
            raise BadRequest("This operation takes no body.")
        return validated(body, {})
    if request.headers.get("content-encoding", "identity") != "identity":
        raise UnsupportedEncoding("Send the body without a content-encoding.")
    if not content.strip():
        content = b"{}"
    try:
        document = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"The body is not JSON: {error}.") from error
    if not isinstance(document, dict):
        raise BadRequest("The body must be a JSON object.")
    return validated(body, document)


def validated(model: type[Model], given: Mapping[str, Any]) -> Model:
    """``given`` as a ``model``. Raises `BadRequest` that names every fault."""
    for name, value in given.items():
        if not _storable(name) or not _storable(value):
            where = name if _storable(name) else "(body)"
            raise BadRequest(f"{where}: holds a character that is not text", param=where)
    try:
        return model.model_validate(given)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_input=False, include_context=False)[:NAMED_MAX]
        wrong = [{"where": _where(fault["loc"]), "reason": _reason(fault)} for fault in faults]
        told = "; ".join(f"{one['where']}: {one['reason']}" for one in wrong)
        raise BadRequest(told, param=wrong[0]["where"], detail={"errors": wrong}) from error


async def _read(request: web.BaseRequest, bytes_max: int, share: Share) -> bytes:
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            async for chunk in request.content.iter_any():
                body += chunk
                if len(body) > bytes_max:
                    raise BodyTooLarge(f"The body may have at most {bytes_max:,} bytes here.")
                share.take(len(chunk))
    except TimeoutError as error:
        raise RequestTimeout from error
    return bytes(body)


def _storable(value: Any) -> bool:
    """Whether all text in ``value`` can be kept: Postgres takes neither NUL nor half of a surrogate pair."""
    waiting = [value]  # not by recursion: JSON may be nested deeper than Python calls
    while waiting:
        part = waiting.pop()
        if isinstance(part, str):
            if "\0" in part or not (part.isascii() or _is_unicode(part)):
                return False
        elif isinstance(part, Mapping):
            waiting += [*part.keys(), *part.values()]
        elif isinstance(part, list):
            waiting += part
    return True


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_list(model: type[BaseModel], name: str) -> bool:
    field = model.model_fields.get(name)
    return field is not None and get_origin(field.annotation) in (list, tuple, frozenset, set)


def _where(location: tuple[int | str, ...]) -> str:
    return ".".join(map(str, location)) or "(body)"


def _reason(fault: Mapping[str, Any]) -> str:
    plain = {"extra_forbidden": "is not known here", "missing": "is required"}
    return plain.get(fault["type"], str(fault["msg"]).removeprefix("Value error, "))
