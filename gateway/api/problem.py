"""Errors of the API as problem details (RFC 9457)."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Annotated

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field

from gateway.errors import TollgateError

MEDIA_TYPE = "application/problem+json"
TYPE_BASE = "urn:tollgate:problem:"
"""Problem types are names here, not addresses: what they mean is in the detail of each."""


class Wrong(BaseModel):
    """One thing that is wrong with what was sent."""

    where: Annotated[str, Field(examples=["credits"])]
    reason: Annotated[str, Field(examples=["must be a number of credits"])]


class Problem(BaseModel):
    """What went wrong, and what to do about it."""

    model_config = ConfigDict(extra="allow")

    type: Annotated[str, Field(examples=[f"{TYPE_BASE}not_allowed"])]
    title: Annotated[str, Field(examples=["Forbidden"])]
    status: Annotated[int, Field(ge=400, le=599, examples=[403])]
    code: Annotated[str, Field(description="Stable: match on this.", examples=["not_allowed"])]
    detail: Annotated[str, Field(examples=["Your role may not do this."])]
    param: Annotated[str | None, Field(description="The parameter or member at fault, if one is.")] = None
    errors: Annotated[list[Wrong], Field(description="Every fault that was found, for 400.")] = []
    request_id: str


def problem(error: TollgateError, request_id: str, headers: Mapping[str, str]) -> web.Response:
    """The reply for ``error``. Nothing of what was sent is repeated except names of members."""
    document = Problem(
        type=f"{TYPE_BASE}{error.code}",
        title=HTTPStatus(error.status).phrase,
        status=error.status,
        code=error.code,
        detail=error.message,
        param=error.param,
        errors=[Wrong(**wrong) for wrong in error.detail.get("errors", ())],
        request_id=request_id,
    )
    extra = {"x-tollgate-error": error.code}
    if error.retry_after_s is not None:
        extra["retry-after"] = str(error.retry_after_s)
    if error.status == HTTPStatus.UNAUTHORIZED:
        extra["www-authenticate"] = 'Bearer realm="tollgate"'
    if allowed := error.detail.get("allow"):
        extra["allow"] = allowed
    return web.Response(
        status=error.status,
        body=document.model_dump_json(exclude_none=True).encode(),
        headers={**headers, **extra},
        content_type=MEDIA_TYPE,
    )
