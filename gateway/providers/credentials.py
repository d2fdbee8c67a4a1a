"""Where SDKs put their API key, and what of it must never reach a provider."""

from __future__ import annotations

from collections.abc import Mapping

KEY_CHARS_MAX = 512
"""Longer than any key of ours or of a provider; a bound on what is hashed."""

STRIPPED_HEADERS = frozenset(
    {
        # credentials of the caller
        "authorization", "proxy-authorization", "x-api-key", "x-goog-api-key", "api-key", "cookie",
        # choose whose account pays, or who is impersonated
        "openai-organization", "openai-project", "x-goog-user-project", "x-goog-iam-authorization-token",
        # change what the request means after it was checked, or hide its usage from the reply
        "x-http-method-override", "x-http-method", "x-method-override", "x-goog-fieldmask", "x-original-url",
        "x-rewrite-url",
    }
)  # fmt: skip
"""Request headers that are not forwarded, beside hop-by-hop ones and our own ``x-tollgate-*``."""

STRIPPED_QUERY = frozenset(
    {"key", "access_token", "oauth_token", "quotaUser", "userProject", "$httpMethod", "$httpHeaders"}
)
"""Query parameters that are not forwarded: credentials, and Google's ways to send headers in the query."""

_HEADERS = ("x-api-key", "x-goog-api-key", "api-key")


def client_key(headers: Mapping[str, str], query: Mapping[str, str]) -> str | None:
    """The key that the client sent, from whichever place its SDK uses; None when there is none.

    ``headers`` must be looked up by lower-case names. ``Authorization`` goes first: current SDKs of Anthropic
    use it too, beside or instead of ``x-api-key``.
    """
    scheme, _, credential = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and (key := _usable(credential)):
        return key
    for name in _HEADERS:
        if key := _usable(headers.get(name, "")):
            return key
    return _usable(query.get("key", ""))


def _usable(value: str) -> str | None:
    value = value.strip()
    return value if 0 < len(value) <= KEY_CHARS_MAX and value.isascii() and value.isprintable() else None
