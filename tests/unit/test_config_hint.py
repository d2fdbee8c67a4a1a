"""A command that misses its configuration names the one that `tollgate up` made."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.cli.parser import CONFIG_OF_UP, run

HINT = "did you mean --config .tollgate/tollgate.yaml?"


def test_the_configuration_of_up_is_named_where_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["migrate"]) == 2
    assert HINT not in capsys.readouterr().err
    CONFIG_OF_UP.parent.mkdir()
    CONFIG_OF_UP.touch()
    assert run(["migrate"]) == 2
    assert HINT in capsys.readouterr().err
    assert run(["migrate", "--config", "other.yaml"]) == 2
    assert HINT not in capsys.readouterr().err
