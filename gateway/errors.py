"""Every way a request can end badly, in one tree.

Each class says whose fault it is, which HTTP status it is answered with and which stable ``code`` clients may
match on. A class docstring is its default message: write it for the person who will read it in a terminal. How
the error looks on the wire is the business of the dialect that the caller speaks (``gateway.providers``).
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, ClassVar


class Fault(StrEnum):
    """Who has to act for the request to succeed."""

    CLIENT = "client"
    PROVIDER = "provider"
    GATEWAY = "gateway"


class TollgateError(Exception):
    """Something went wrong inside the gateway. What the request was charged, if it was, is in its usage record."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"
    fault: ClassVar[Fault] = Fault.GATEWAY

    def __init__(
        self,
        message: str | None = None,
        *,
        param: str | None = None,
        retry_after_s: int | None = None,
        detail: Mapping[str, Any] | None = None,
    ) -> None:
        self.message = message or inspect.cleandoc(type(self).__doc__ or type(self).__name__)
        self.param = param
        self.retry_after_s = retry_after_s
        self.detail = dict(detail or {})
        super().__init__(self.message)


# ------------------------------------------------------------------ the caller's credentials


class Unauthenticated(TollgateError):
    """No API key was sent. Send your Tollgate key where your SDK puts its API key."""

    status = 401
    code = "missing_api_key"
    fault = Fault.CLIENT


class UnknownKey(Unauthenticated):
    """This API key is not known here. Check for a typo, or create one with `tollgate keys create`."""

    code = "invalid_api_key"


class RevokedKey(Unauthenticated):
    """This API key was revoked. Ask your administrator for a new one."""

    code = "revoked_api_key"


class ExpiredKey(Unauthenticated):
    """This API key has expired. Ask your administrator for a new one."""

    code = "expired_api_key"


class NotAllowed(TollgateError):
    """Your key may not use this."""

    status = 403
    code = "not_allowed"
    fault = Fault.CLIENT


# ------------------------------------------------------------------ the request itself


class BadRequest(TollgateError):
    """The request could not be understood."""

    status = 400
    code = "invalid_request"
    fault = Fault.CLIENT


class BodyTooLarge(BadRequest):
    """The request body is larger than this gateway accepts."""

    status = 413
    code = "request_too_large"


class UnsupportedEncoding(BadRequest):
    """The content-encoding of the request is not one of gzip, deflate, br, zstd."""

    status = 415
    code = "unsupported_content_encoding"


class UnsupportedMediaType(BadRequest):
    """The body must be JSON in UTF-8: send `content-type: application/json`."""

    status = 415
    code = "unsupported_media_type"


class RequestTimeout(BadRequest):
    """The request did not arrive within the time allowed."""

    status = 408
    code = "request_timeout"


class UnsupportedRoute(TollgateError):
    """This path is not one whose cost the gateway understands, so it is not forwarded."""

    status = 403
    code = "unsupported_route"
    fault = Fault.CLIENT


class UnpricedModel(TollgateError):
    """There is no price for this model, so its cost could not be held against a budget."""

    status = 403
    code = "unpriced_model"
    fault = Fault.CLIENT


class NotFound(TollgateError):
    """There is nothing at this address."""

    status = 404
    code = "not_found"
    fault = Fault.CLIENT


class MethodNotAllowed(TollgateError):
    """This address does not take this method."""

    status = 405
    code = "method_not_allowed"
    fault = Fault.CLIENT


class Conflict(TollgateError):
    """This is not possible as things stand."""

    status = 409
    code = "conflict"
    fault = Fault.CLIENT


class IdempotencyConflict(Conflict):
    """This idempotency key was used before, for something else. Use a new key for a new request."""

    code = "idempotency_key_reused"


# ------------------------------------------------------------------ budgets


class BudgetExceeded(TollgateError):
    """A spending limit is used up."""

    status = 402
    code = "budget_exceeded"
    fault = Fault.CLIENT


class BalanceExhausted(BudgetExceeded):
    """The prepaid balance is used up."""

    code = "balance_exhausted"


class BudgetContended(TollgateError):
    """What is left of the budget is held by requests still in flight; try again shortly."""

    status = 429
    code = "budget_contended"
    fault = Fault.CLIENT


class RateLimited(TollgateError):
    """This key sends requests faster than it may."""

    status = 429
    code = "rate_limited"
    fault = Fault.CLIENT


class TooManyOpenCalls(RateLimited):
    """This key has as many calls open as it may."""

    code = "too_many_open_calls"


# ------------------------------------------------------------------ what the gateway leans on


class StoreUnavailable(TollgateError):
    """The budget store does not answer, so the request cannot be checked; nothing was forwarded."""

    status = 503
    code = "store_unavailable"

    def __init__(self, message: str | None = None, *, retry_after_s: int = 2, **rest: Any) -> None:
        super().__init__(message, retry_after_s=retry_after_s, **rest)


class GatewayBusy(TollgateError):
    """This gateway has as many large requests in hand as it has memory for; send it again shortly."""

    status = 503
    code = "gateway_busy"

    def __init__(self, message: str | None = None, *, retry_after_s: int = 2, **rest: Any) -> None:
        super().__init__(message, retry_after_s=retry_after_s, **rest)


class ShuttingDown(StoreUnavailable):
    """This gateway is stopping; send the request again."""

    code = "shutting_down"


class UpstreamError(TollgateError):
    """The provider could not be reached."""

    status = 502
    code = "upstream_unreachable"
    fault = Fault.PROVIDER


class UpstreamTimeout(UpstreamError):
    """The provider did not answer in time."""

    status = 504
    code = "upstream_timeout"


class ConfigError(TollgateError):
    """The configuration is not valid."""

    code = "invalid_configuration"
