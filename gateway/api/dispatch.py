"""One call of the API from request to reply: who asks, may they, what do they bring, then the handler."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime

import orjson
from aiohttp import web
from pydantic import BaseModel

from gateway.api.authentication import Authentication
from gateway.api.operation import BODY_BYTES_MOST, AnyOperation, Call
from gateway.api.postgres_answers import Answer, Answers, Asked
from gateway.api.taking import take_body, take_params
from gateway.errors import BadRequest
from gateway.proxy.body_room import BodyRoom
from gateway.stores.postgres_audit import coming_from

_KEY = re.compile(r"[\x21-\x7e]{1,255}")
BODIES_BYTES_MAX = 8 * BODY_BYTES_MOST
"""Of all callers of one process together; any one organisation leaves one of the largest to the others."""


class Dispatch:
    """Runs operations. Raises `TollgateError`; the router says it to the caller.

    ``check_org`` raises `NotFound` for an organisation of which nothing is known. Nor is anything set of it, which
    would make a misspelt one known.
    """

    def __init__(
        self,
        authentication: Authentication,
        answers: Answers,
        now: Callable[[], datetime],
        check_org: Callable[[str], Awaitable[None]],
        bodies: BodyRoom | None = None,
    ) -> None:
        self._authentication = authentication
        self._answers = answers
        self._now = now
        self._check_org = check_org
        self._bodies = bodies or BodyRoom(BODIES_BYTES_MAX, BODY_BYTES_MOST)

    async def run(
        self,
        operation: AnyOperation,
        request: web.BaseRequest,
        path_params: Mapping[str, str],
        request_id: str,
        headers: Mapping[str, str],
    ) -> web.StreamResponse:
        principal, credential = await self._authentication.identify(request)
        # Whether one may do this at all comes before what is wrong with what was sent.
        principal.reach(operation.action, None)
        params = take_params(operation, request, path_params)
        reach = principal.reach(operation.action, getattr(params, "org", None))
        if principal.org_id is None and reach.org_id is not None:
            await self._check_org(reach.org_id)  # all others have no choice which organisation is theirs
        with self._bodies.share(principal.org_id or "") as share:
            body = await take_body(operation, request, share)
            call = Call(
                principal=principal,
                reach=reach,
                params=params,
                body=body,
                request=request,
                request_id=request_id,
                now=self._now(),
                credential=credential,
                idempotency_key=_idempotency_key(request, request_id) if operation.idempotent else None,
                headers=headers,
                source=self._authentication.address_of(request),
            )
            with coming_from(call.source, request_id):
                if not operation.idempotent:
                    return _reply(operation, await operation.handler(call), headers)
                return await self._once(operation, call)

    async def _once(self, operation: AnyOperation, call: Call[BaseModel, BaseModel]) -> web.StreamResponse:
        assert call.idempotency_key is not None
        asked = Asked(call.principal.actor, operation.name, call.idempotency_key, _digest(call))
        known = await self._answers.find(asked)
        if known is None:
            answer = await operation.handler(call)
            if isinstance(answer, web.StreamResponse):
                raise TypeError(f"{operation.name} is idempotent, so it must answer a model")
            document = answer.model_dump_json() if answer is not None else None
            known = Answer(operation.status if document is not None else 204, document)
            await self._answers.keep(asked, known)
        return _json(known.status, known.document, call.headers)


def _reply(
    operation: AnyOperation, answer: BaseModel | web.StreamResponse | None, headers: Mapping[str, str]
) -> web.StreamResponse:
    if isinstance(answer, web.StreamResponse):
        return answer
    if answer is None:
        return _json(204, None, headers)
    return _json(operation.status, answer.model_dump_json(), headers)


def _json(status: int, document: str | None, headers: Mapping[str, str]) -> web.Response:
    if document is None:
        return web.Response(status=status, headers=headers)
    return web.Response(status=status, text=document, headers=headers, content_type="application/json")


def _idempotency_key(request: web.BaseRequest, request_id: str) -> str:
    """What the caller sent; else one of its own for this call, which nothing can repeat."""
    sent = request.headers.getall("idempotency-key", [])
    if not sent:
        return request_id
    if len(sent) > 1 or not _KEY.fullmatch(sent[0]):
        raise BadRequest(
            "Idempotency-Key: one value of 1 to 255 visible ASCII characters", param="Idempotency-Key"
        )
    return sent[0]


def _digest(call: Call[BaseModel, BaseModel]) -> bytes:
    """Of what was asked, by value: another spelling of the same JSON is the same call."""
    asked = [call.reach.org_id, call.params.model_dump(mode="json"), call.body.model_dump(mode="json")]
    return hashlib.sha256(orjson.dumps(asked, option=orjson.OPT_SORT_KEYS)).digest()
