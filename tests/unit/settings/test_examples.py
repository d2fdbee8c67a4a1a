"""The commented examples under config/ name every setting that there is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from pydantic import BaseModel

import pricing.file
from gateway.settings import config, limits

EXAMPLES = Path(__file__).parents[3] / "config"


def settings_of(module: ModuleType) -> Iterator[str]:
    for section in vars(module).values():
        if (
            isinstance(section, type)
            and issubclass(section, BaseModel)
            and section.__module__ == module.__name__
        ):
            for name, field in section.model_fields.items():
                yield field.alias or name


@pytest.mark.parametrize(
    ("module", "example"),
    [(config, "tollgate.yaml"), (limits, "limits.yaml"), (pricing.file, "pricing.yaml")],
    ids=["tollgate", "limits", "pricing"],
)
def test_every_setting_is_in_an_example(module: ModuleType, example: str) -> None:
    words = set(re.findall(r"\w+", (EXAMPLES / example).read_text(encoding="utf-8")))
    assert set(settings_of(module)) <= words
