"""The commented examples under config/ name every setting that there is."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args, get_origin

import pytest
from pydantic import BaseModel

from gateway.settings.config import Settings
from gateway.settings.limits import LimitsFile
from pricing.file import PricingFile

EXAMPLES = Path(__file__).parents[3] / "config"


def settings_of(annotation: Any) -> Iterator[str]:
    """Every key that a file of this type may have, at any depth."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        for name, field in annotation.model_fields.items():
            yield field.alias or name
            yield from settings_of(field.annotation)
    elif get_origin(annotation) in (dict, Mapping):
        yield from settings_of(get_args(annotation)[1])
    else:
        for choice in get_args(annotation):
            yield from settings_of(choice)


@pytest.mark.parametrize(
    ("file", "example"),
    [(Settings, "tollgate.yaml"), (LimitsFile, "limits.yaml"), (PricingFile, "pricing.yaml")],
    ids=["tollgate", "limits", "pricing"],
)
def test_every_setting_is_in_an_example(file: type[BaseModel], example: str) -> None:
    words = set(re.findall(r"\w+", (EXAMPLES / example).read_text(encoding="utf-8")))
    settings = set(settings_of(file))
    assert len(settings) > 10
    assert settings <= words
