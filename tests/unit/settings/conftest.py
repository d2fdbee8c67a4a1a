"""A good configuration in three files, and ways to spoil it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.cli.parser import run

TOKEN = "0123456789abcdef-token"
SECRET = "sk-a-secret-that-must-not-be-shown"
MAIN: dict[str, Any] = {
    "admin_token": TOKEN,
    "limits": "limits.yaml",
    "pricing": "pricing.yaml",
    "providers": {"openai": {"kind": "openai", "base_url": "https://api.openai.com", "api_key": SECRET}},
}
KEY = {"id": "laptop", "sha256": "ab" * 32}
LIMITS: dict[str, Any] = {
    "credit_usd": 0.01,
    "orgs": [
        {"id": "acme", "limits": [{"window": "day", "credits": 5}], "users": [{"id": "ada", "keys": [KEY]}]}
    ],
}
PRICING: dict[str, Any] = {
    "markup": 1.0,
    "models": [{"provider": "openai", "model": "x", "usd_per_mtok": {"input": 1, "output": 2}}],
}
GOOD = {"tollgate.yaml": MAIN, "limits.yaml": LIMITS, "pricing.yaml": PRICING}
Change = Callable[[dict[str, Any]], None]


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., Path]:
    def write(**changes: Change) -> Path:
        for name, document in GOOD.items():
            document = copy.deepcopy(document)
            if change := changes.get(name.removesuffix(".yaml")):
                change(document)
            (tmp_path / name).write_text(yaml.safe_dump(document))
        return tmp_path / "tollgate.yaml"

    return write


def putting(path: str, value: Any) -> Change:
    """Sets ``value`` at a dotted path."""

    def change(document: dict[str, Any]) -> None:
        holder: Any = document
        *above, last = [int(part) if part.isdigit() else part for part in path.split(".")]
        for part in above:
            holder = holder[part] if isinstance(part, int) else holder.setdefault(part, {})
        holder[last] = value

    return change


def said(path: Path, capsys: pytest.CaptureFixture[str], *command: str) -> tuple[int, str]:
    code = run([*(command or ("check-config", str(path)))])
    out = capsys.readouterr()
    return code, out.out + out.err
