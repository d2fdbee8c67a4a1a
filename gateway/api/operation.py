"""One operation of the API, said once: what it is called, who may do it, what it takes and what it answers.

Routing, checks, error shapes and the OpenAPI document are all made from this.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any, Generic, TypeVar

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field

from gateway.identity.roles import Action, Principal, Reach
from gateway.settings.limits import Id

BODY_BYTES_MAX = 1024 * 1024
"""A form filled in by hand or by a program has a few kilobytes; a thousand times that is a mistake."""
BODY_BYTES_MOST = 16 * 1024 * 1024
"""Of any operation: conversations with pictures are asked about too."""
PAGE_ITEMS = 50
PAGE_ITEMS_MAX = 1000
CURSOR_CHARS_MAX = 500
LINE = r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]*$"
"""Text of one line that people read: nothing that breaks it, and nothing that turns the direction of what follows."""


class Strict(BaseModel):
    """What clients send: a member that is not known is a mistake worth telling them."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class NoParams(Strict):
    """Neither path nor query parameters."""


class NoBody(Strict):
    """No body."""


class OrgParams(Strict):
    """Of operations inside an organisation."""

    org: Annotated[
        Id | None, Field(description="Which organisation. Default: your own; the admin token has none.")
    ] = None


class PageParams(OrgParams):
    """Of operations that answer page by page."""

    limit: Annotated[int, Field(ge=1, le=PAGE_ITEMS_MAX, description="At most so many items.")] = PAGE_ITEMS
    cursor: Annotated[
        str | None,
        Field(min_length=1, max_length=CURSOR_CHARS_MAX, description="`next_cursor` of the page before."),
    ] = None


P = TypeVar("P", bound=BaseModel)
B = TypeVar("B", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Call(Generic[P, B]):
    """One call of an operation: who asks, for what, and how far that may reach."""

    principal: Principal
    reach: Reach
    params: P
    body: B
    request: web.BaseRequest
    request_id: str
    now: datetime
    """Aware, UTC."""
    credential: str
    """The key or token that was sent. Never logged, never stored."""
    idempotency_key: str | None = None
    """As sent, or made for this call; None for operations that are not ``idempotent``."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """What every reply carries."""
    source: str = "unknown"
    """The address that the call came from, for the audit log."""

    def stream(self, content_type: str, headers: Mapping[str, str] | None = None) -> web.StreamResponse:
        """A reply to be written piece by piece, with the headers that every reply carries."""
        reply = web.StreamResponse(headers={**self.headers, **(headers or {})})
        reply.content_type = content_type
        if content_type.startswith("text/"):
            reply.charset = "utf-8"
        return reply


Reply = BaseModel | web.StreamResponse | None


@dataclass(frozen=True, slots=True)
class Operation(Generic[P, B]):
    """See the module. ``params`` takes path and query parameters together; path parameters are those in ``path``."""

    method: str
    path: str
    name: str
    """The operationId, e.g. ``get_balance``."""
    tag: str
    summary: str
    action: Action
    handler: Callable[[Call[P, B]], Awaitable[Reply]]
    params: type[P] = NoParams  # type: ignore[assignment]
    body: type[B] = NoBody  # type: ignore[assignment]
    reply: type[BaseModel] | None = None
    """None: nothing (204), unless ``media`` says what else."""
    media: tuple[str, ...] = ()
    """Media types that the handler answers itself, with a `web.StreamResponse`."""
    status: int = 200
    errors: tuple[int, ...] = ()
    """Statuses beyond those that every operation may answer."""
    idempotent: bool = False
    """Moves credits: takes an Idempotency-Key, answers a repetition like the first time."""
    description: str = ""
    example: Mapping[str, Any] | None = None
    """Of the body."""
    body_bytes_max: int = BODY_BYTES_MAX

    @property
    def has_body(self) -> bool:
        return self.body is not NoBody


AnyOperation = Operation[Any, Any]
