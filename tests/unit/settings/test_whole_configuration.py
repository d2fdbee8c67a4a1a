"""All that is wrong with three files and the environment is told in one run, each of the right one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import ConfigError
from gateway.settings.config import load_settings
from tests.unit.settings.conftest import putting, said


def test_everything_that_is_wrong_anywhere_is_told_in_one_run(
    written: Callable[..., Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three files and the environment, each with mistakes of its schema and between its parts."""
    monkeypatch.delenv("TG_NOT_SET", raising=False)
    monkeypatch.delenv("TG_NOT_SET_EITHER", raising=False)
    monkeypatch.setenv("TOLLGATE_SERVER__PROT", "1")
    monkeypatch.setenv("TOLLGATE_SERVR__PORT", "1")
    monkeypatch.setenv("TOLLGATE_REDIS__PARTITIONS", "many")
    monkeypatch.setenv("TG_WORKERS", "several")

    def change(document: dict[str, Any]) -> None:
        document["providers"] = {
            "api": {"kind": "openai", "base_url": "https://a.test", "api_key": "${TG_NOT_SET}"},
            "b": {"kind": "opena", "base_url": "https://b.test", "default": True},
            "c": {"kind": "anthropic", "base_url": "c.test", "api_key": "${TG_NOT_SET_EITHER}"},
            "d": {"kind": "anthropic", "base_url": "https://d.test"},
            "e": {"kind": "groq", "default": True},
            "f": {"kind": "groq", "base_url": "https://f.test", "default": True},
        }
        document["admin_token"] = "admin"
        document["server"] = {"workers": "${TG_WORKERS}", "port": 70_000}

    def twice(document: dict[str, Any]) -> None:
        document["orgs"] = [document["orgs"][0], {"id": "acme", "time_zone": "Mars"}]

    def prices(document: dict[str, Any]) -> None:
        document["models"] = [*document["models"], *document["models"], {"provider": "x"}]
        document["markup"] = -1

    code, text = said(written(tollgate=change, limits=twice, pricing=prices), capsys)
    assert code == 2
    header, *lines = text.splitlines()
    expected = [
        "tollgate.yaml: providers.api.api_key: the environment variable TG_NOT_SET is not set",
        "tollgate.yaml: providers.c.api_key: the environment variable TG_NOT_SET_EITHER is not set",
        "tollgate.yaml: providers.api: a provider cannot be called 'api'",
        "tollgate.yaml: providers.b.kind: there is no kind 'opena'; did you mean 'openai'?",
        "tollgate.yaml: providers.c.base_url: must look like https://",
        "tollgate.yaml: providers.d: c, d are all of kind anthropic: mark the one",
        "tollgate.yaml: providers.e.base_url: is required: add it",
        "tollgate.yaml: providers.f.default: providers.e is the default of groq already",
        "tollgate.yaml: admin_token: refused because it is a well-known word",
        "tollgate.yaml: server.port: must be less than or equal to 65535",
        "tollgate.yaml: server.workers: must be a whole number (it is TG_WORKERS)",
        "environment: TOLLGATE_REDIS__PARTITIONS: redis.partitions: must be a whole number",
        "environment: TOLLGATE_SERVER__PROT: server.prot: unknown key; did you mean 'port'?",
        "environment: TOLLGATE_SERVR__PORT: there is no section 'servr'; did you mean 'server'?",
        "limits.yaml: orgs.1.id: org id 'acme' is already used at orgs.0.id",
        "limits.yaml: orgs.1.time_zone: 'Mars' is not an IANA time zone",
        "pricing.yaml: markup: must be greater than 0",
        "pricing.yaml: models[1] repeats models[0]",
        "pricing.yaml: models[2].model: is required",
    ]
    missing = [line for line in expected if not any(line in told for told in lines)]
    assert missing == []
    assert len(lines) == len(expected), "each mistake once, and nothing that is none"
    assert header == f"tollgate: {len(expected)} problems"


def test_a_start_refuses_all_that_a_check_refuses(
    written: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    main = written(
        tollgate=putting("providers.openai.kind", "opena"),
        limits=putting("orgs.0.idd", 1),
        pricing=putting("markup", -1),
    )
    checked = said(main, capsys)
    assert said(main, capsys, "serve", "--config", str(main)) == checked
    assert checked[1].count("\n") == 4


def test_a_limits_file_is_looked_at_though_the_main_file_says_nothing_of_prices(
    written: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    def change(document: dict[str, Any]) -> None:
        del document["pricing"], document["admin_token"]

    _, text = said(written(tollgate=change, limits=putting("credit_usd", 0)), capsys)
    assert "tollgate.yaml: admin_token: is required" in text
    assert "limits.yaml: credit_usd: must be a positive amount" in text


@pytest.mark.parametrize(
    ("providers", "root"),
    [
        ({"a": {}}, "a"),
        ({"a": {}, "openai": {}}, "openai"),
        ({"a": {"default": True}, "openai": {}}, "a"),
        ({"a": {}, "b": {"default": True}}, "b"),
        ({"a": {}, "b": {}}, None),
        ({"a": {"default": True}, "b": {"default": True}}, None),
    ],
    ids=str,
)
def test_root_paths_of_a_kind_have_one_provider_or_the_start_is_refused(
    written: Callable[..., Path],
    capsys: pytest.CaptureFixture[str],
    providers: dict[str, Any],
    root: str | None,
) -> None:
    filled = {
        name: {"kind": "openai", "base_url": "https://x.test", **said} for name, said in providers.items()
    }
    main = written(tollgate=putting("providers", filled))
    code, text = said(main, capsys)
    assert (code == 0) is (root is not None), text
    if root is None:
        assert "providers.b" in text
    else:
        assert load_settings(main).default_provider("openai") == root


def test_kinds_that_do_not_answer_at_the_root_need_no_default(
    written: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    two = {name: {"kind": "groq", "base_url": "https://x.test"} for name in ("a", "b")}
    assert said(written(tollgate=putting("providers", two)), capsys)[0] == 0


def test_the_environment_gives_whole_sections_as_json_and_is_named_when_they_are_wrong(
    written: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOLLGATE_SERVER", '{"port": 9000, "workers": 2}')
    monkeypatch.setenv("TOLLGATE_PROVIDERS__MINE__KIND", "openai-compatible")
    with pytest.raises(
        ConfigError,
        match=r"^environment: TOLLGATE_PROVIDERS__MINE__KIND: providers\.mine\.base_url: is required",
    ):
        load_settings(written())
    monkeypatch.setenv("TOLLGATE_PROVIDERS__MINE__BASE_URL", "https://mine.test")
    settings = load_settings(written(tollgate=putting("server", {"port": 1, "drain_timeout_s": 5})))
    assert (settings.server.port, settings.server.workers, settings.server.drain_timeout_s) == (9000, 2, 5)
    assert settings.providers["mine"].kind == "openai-compatible"


def test_a_variable_below_a_single_value_is_refused_by_its_name(
    written: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOLLGATE_LOG_LEVEL__LOUD", "yes")
    with pytest.raises(ConfigError, match=r"TOLLGATE_LOG_LEVEL__LOUD.*single value"):
        load_settings(written(tollgate=putting("log_level", "info")))


def test_other_variables_that_begin_alike_are_nobody_s_business(
    written: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOLLGATE_PORT", "tcp://10.0.0.1:8787")
    assert load_settings(written()).server.port == 8787


def test_a_line_of_the_env_file_that_is_none_is_told_with_the_rest(
    written: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    main = written(tollgate=putting("server.prot", 1))
    main.with_suffix(".env").write_text("# good\nnonsense\n=x\n")
    _, text = said(main, capsys)
    assert "tollgate.env: line 2: write NAME=value" in text
    assert "tollgate.yaml: server.prot: unknown key; did you mean 'port'?" in text
