"""A configuration that is wrong is refused before anything starts, with file, path and reason, and never a secret."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import ConfigError
from gateway.settings.config import admin_token_weakness, load_settings
from gateway.settings.document import read_yaml
from tests.unit.settings.conftest import LIMITS, SECRET, TOKEN, Change, putting, said


def test_a_good_configuration_is_called_good(
    written: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    code, text = said(written(), capsys)
    assert code == 0
    assert "good" in text
    assert SECRET not in text


@pytest.mark.parametrize(
    ("where", "path", "value"),
    [
        ("tollgate", "serverr", {}),
        ("tollgate", "server.prot", 1),
        ("tollgate", "server.port", "many"),
        ("tollgate", "server.port", 70_000),
        ("tollgate", "server.workers", 0),
        ("tollgate", "server.body_bytes_max", -1),
        ("tollgate", "server.body_timeout_s", 0),
        ("tollgate", "redis.partitions", 0),
        ("tollgate", "redis.partition", 1),
        ("tollgate", "redis.url", "http://redis"),
        ("tollgate", "postgres.dsn", "tollgate@127.0.0.1/tollgate"),
        ("tollgate", "budgets.hold_ttl_s", "soon"),
        ("tollgate", "providers", {}),
        ("tollgate", "providers.openai.base_url", "api.openai.com"),
        ("tollgate", "providers.openai.base_url", "https://user:pass@api.openai.com"),
        ("tollgate", "providers.openai.base_url", "https://api.openai.com/?key=x"),
        ("tollgate", "providers.openai.kind", "opnai"),
        ("tollgate", "providers.openai.kind", None),
        ("tollgate", "providers.openai.api_keyy", "x"),
        ("tollgate", "providers.openai.api_keys", [{"api_key": "x"}]),
        ("tollgate", "providers.openai.timeouts.idle_s", -5),
        ("tollgate", "log_level", "loud"),
        ("limits", "credit_usd", 0),
        ("limits", "orgs.0.id", "a|b"),
        ("limits", "orgs.0.idd", "x"),
        ("limits", "orgs.0.time_zone", "Mars/Olympus"),
        ("limits", "orgs.0.limits.0.window", "hour"),
        ("limits", "orgs.0.limits.0.credits", -1),
        ("limits", "orgs.0.limits.0.credits", "1e30"),
        ("limits", "orgs.0.limits.0.credits", 0.0000001),
        ("limits", "orgs.0.limits.0.credits", True),
        ("limits", "orgs.0.limits.0.operation", "chatting"),
        ("limits", "orgs.0.limits.0.grace", {"percent": 0, "minutes": 5}),
        ("limits", "orgs.0.users.0.keys.0.sha256", "tg-the-key-itself"),
        ("limits", "orgs.0.users.0.keys.0.requests_per_minute", 0),
        ("limits", "orgs.0.users.0.keys.0.expires", "tomorrow"),
        ("limits", "orgs.0.allowed_operations", ["everything"]),
        ("pricing", "markupp", 2),
        ("pricing", "markup", -1),
        ("pricing", "models.0.usd_per_mtok.inputt", 1),
        ("pricing", "models.0.usd_per_mtok.input", -1),
        ("pricing", "models.0.from", "someday"),
        ("pricing", "unpriced", "allow"),
    ],
    ids=str,
)
def test_each_mistake_is_named_with_its_file_and_path(
    written: Callable[..., Path], capsys: pytest.CaptureFixture[str], where: str, path: str, value: Any
) -> None:
    code, text = said(written(**{where: putting(path, value)}), capsys)
    assert code == 2
    assert f"{where}.yaml" in text
    *above, last = path.split(".")
    named = last if value is not None and last not in ("credits", "grace", "from") else above[-1]
    assert named.rstrip("0123456789") in text or (above and above[-1] in text), text
    assert SECRET not in text
    assert "Traceback" not in text


def test_all_mistakes_of_a_file_are_told_at_once(
    written: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    def change(document: dict[str, Any]) -> None:
        putting("server.prot", 1)(document)
        putting("server.port", "many")(document)
        putting("redis.partitions", 0)(document)

    _, text = said(written(tollgate=change), capsys)
    assert len([line for line in text.splitlines() if "tollgate.yaml" in line]) == 3


@pytest.mark.parametrize(
    "change",
    [
        putting("orgs", [LIMITS["orgs"][0], LIMITS["orgs"][0]]),
        putting("orgs.0.users", [{"id": "ada"}, {"id": "ada"}]),
        putting("orgs.0.keys", [{"id": "laptop", "sha256": "cd" * 32}]),
        putting("orgs.0.keys", [{"id": "other", "sha256": "AB" * 32}]),
        putting("orgs.0.limits", [{"window": "day", "credits": 5}, {"window": "day", "credits": 6}]),
    ],
)
def test_what_is_given_twice_is_refused(
    written: Callable[..., Path], capsys: pytest.CaptureFixture[str], change: Change
) -> None:
    code, text = said(written(limits=change), capsys)
    assert code == 2
    assert "limits.yaml: orgs." in text


@pytest.mark.parametrize(
    "name", ["api", "health", "metrics", "dashboard", "v1", "v1beta", "Bad Name", "../x", "a/b", ""]
)
def test_provider_names_that_collide_or_cannot_be_a_path(
    written: Callable[..., Path], capsys: pytest.CaptureFixture[str], name: str
) -> None:
    provider = {"kind": "openai", "base_url": "https://x.test"}
    code, text = said(written(tollgate=putting("providers", {name: provider})), capsys)
    assert code == 2
    assert "providers" in text


@pytest.mark.parametrize("name", ["tollgate", "limits", "pricing"])
@pytest.mark.parametrize(
    "text", ["a: 1\na: 2\n", "a: [", "- 1\n", "\t\n:", "a: !!python/object:os.system x\n"]
)
def test_what_is_no_yaml_mapping_is_refused(
    written: Callable[..., Path], capsys: pytest.CaptureFixture[str], name: str, text: str
) -> None:
    main = written()
    (main.parent / f"{name}.yaml").write_text(text)
    code, words = said(main, capsys)
    assert code == 2
    assert f"{name}.yaml" in words
    assert "Traceback" not in words


def test_a_file_that_is_missing_or_not_text(
    written: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    main = written()
    (main.parent / "limits.yaml").write_bytes(b"\xff\xfe")
    assert "limits.yaml: is not UTF-8" in said(main, capsys)[1]
    (main.parent / "limits.yaml").unlink()
    code, text = said(main, capsys)
    assert (code, "limits.yaml: cannot be read" in text) == (2, True)


def test_a_variable_that_is_not_set_is_named(
    written: Callable[..., Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TG_NOT_SET", raising=False)
    code, text = said(written(tollgate=putting("providers.openai.api_key", "${TG_NOT_SET}")), capsys)
    assert code == 2
    assert "providers.openai.api_key: the environment variable TG_NOT_SET is not set" in text


def test_the_environment_overrides_the_file(
    written: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOLLGATE_SERVER__PORT", "9000")
    assert load_settings(written()).server.port == 9000
    monkeypatch.setenv("TOLLGATE_SERVER__PORT", "many")
    with pytest.raises(ConfigError, match=r"server\.port"):
        load_settings(written())


WEAK = [
    "admin",
    "Tollgate",
    "changeme",
    "x",
    "",
    "short-token",
    "a" * 40,
    "abababababababababababab",
    " " * 30,
]


@pytest.mark.parametrize("token", WEAK)
def test_a_weak_admin_token_is_refused_at_start(
    written: Callable[..., Path], capsys: pytest.CaptureFixture[str], token: str
) -> None:
    main = written(tollgate=putting("admin_token", token))
    for command in (("serve", "--config", str(main)), ("check-config", str(main))):
        code, text = said(main, capsys, *command)
        assert code == 2
        assert "admin_token" in text
        assert len(token) < 6 or token not in text


def test_a_strong_admin_token_is_taken() -> None:
    assert admin_token_weakness(TOKEN) is None


@pytest.mark.parametrize(
    "value",
    ["2026-02-30", "1" * 5_000, "{[a, b]: 1}", "{{a: 1}: 1}", "[" * 5_000],
    ids=["no such day", "too many digits", "a list as key", "a mapping as key", "too deep"],
)
def test_yaml_of_values_that_are_none_is_refused_by_file(tmp_path: Path, value: str) -> None:
    path = tmp_path / "pricing.yaml"
    path.write_text(f"models: {value}\n")
    with pytest.raises(ConfigError, match=r"pricing\.yaml: "):
        read_yaml(path)


def test_all_bodies_together_have_room_for_one(
    written: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    main = written(tollgate=putting("server", {"body_bytes_max": 5000, "bodies_bytes_max": 4999}))
    assert "server.bodies_bytes_max: must be at least body_bytes_max (5000)" in said(main, capsys)[1]
    assert load_settings(written()).server.bodies_room_bytes == 8 * 64 * 1024 * 1024
