"""Reading typed members of a request body, with errors that name the member and say what to send."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.errors import BadRequest
from gateway.providers.lean import MARK

TOKENS_MAX = 2**31 - 1
"""No provider takes a larger cap: their schemas have 32-bit integers. More is a mistake or an attack."""
CHOICES_MAX = 1024
"""OpenAI takes 128 choices, vLLM whatever it is told; a thousand is beyond any honest use."""
MODEL_CHARS_MAX = 256
"""Bedrock's ARNs are the longest model names, at about 200 characters."""


def positive(holder: Mapping[str, Any], name: str, most: int, *, where: str = "") -> int | None:
    """A whole number from 1 to ``most``; None when absent or null."""
    value = holder.get(name)
    if value is None:
        return None
    if type(value) is not int or not 0 < value <= most:
        param = where + name
        raise BadRequest(
            f"{param!r} must be a whole number from 1 to {most}, not {_shown(value)}.", param=param
        )
    return value


def natural(holder: Mapping[str, Any], name: str, most: int, *, where: str = "") -> int | None:
    """A whole number from 0 to ``most``; None when absent or null."""
    return (
        None
        if holder.get(name) == 0 and type(holder[name]) is int
        else positive(holder, name, most, where=where)
    )


def flag(holder: Mapping[str, Any], name: str) -> bool:
    """true, false; absent and null are false."""
    value = holder.get(name)
    if value is None or value is False:
        return False
    if value is not True:
        raise BadRequest(f"{name!r} must be true or false, not {_shown(value)}.", param=name)
    return True


def word(holder: Mapping[str, Any], name: str, *, where: str = "") -> str | None:
    """A short string (a tier, a size, a quality); None when absent or null."""
    value = holder.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or not 0 < len(value) <= 64 or value.startswith(MARK):
        param = where + name
        raise BadRequest(f"{param!r} must be a short string, not {_shown(value)}.", param=param)
    return value


def child(holder: Mapping[str, Any], name: str, *, where: str = "") -> Mapping[str, Any]:
    """An object; empty when absent or null."""
    value = holder.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        param = where + name
        raise BadRequest(f"{param!r} must be an object, not {_shown(value)}.", param=param)
    return value


def items(holder: Mapping[str, Any], name: str, *, where: str = "") -> list[Any]:
    """An array; empty when absent or null."""
    value = holder.get(name)
    if value is None:
        return []
    if not isinstance(value, list):
        param = where + name
        raise BadRequest(f"{param!r} must be an array, not {_shown(value)}.", param=param)
    return value


def model_name(value: object, param: str = "model") -> str:
    """A model name: a non-empty printable string of bounded length."""
    if value is None:
        raise BadRequest(f"{param!r} is missing; name the model to use.", param=param)
    if not isinstance(value, str) or not value:
        raise BadRequest(f"{param!r} must be a non-empty string, not {_shown(value)}.", param=param)
    if len(value) > MODEL_CHARS_MAX or value.startswith(MARK):
        raise BadRequest(f"{param!r} is longer than {MODEL_CHARS_MAX} characters.", param=param)
    if not value.isprintable() or value != value.strip():
        raise BadRequest(f"{param!r} has spaces around it or characters that do not print.", param=param)
    return value


def _shown(value: object) -> str:
    """A value in an error message: never more than a glimpse of it, and nothing of a text."""
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)[:40]
        case str():
            return "a string"
        case list():
            return "an array"
        case dict():
            return "an object"
        case _:
            return "null"
