"""A metered body is JSON in UTF-8 and says so, or says nothing: a provider must not read it in another way."""

from __future__ import annotations

import pytest

from gateway.errors import UnsupportedMediaType
from gateway.proxy.intake import require_json


@pytest.mark.parametrize(
    "content_type",
    [None, "", "application/json", "Application/JSON; charset=UTF-8", 'application/json;charset="utf-8"',
     "application/vnd.api+json", "application/json; boundary=x"],
)  # fmt: skip
def test_json_passes_under_its_names(content_type: str | None) -> None:
    require_json(content_type)


@pytest.mark.parametrize(
    "content_type",
    ["application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/plain", "json",
     "application/json; charset=utf-7", "application/json;charset=utf-16le", "text/plain; x=application/json"],
)  # fmt: skip
def test_anything_else_is_refused(content_type: str) -> None:
    with pytest.raises(UnsupportedMediaType):
        require_json(content_type)
