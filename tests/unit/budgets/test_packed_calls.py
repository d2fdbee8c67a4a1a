"""A call that was packed beforehand is, byte for byte, the call that it stands for."""

from __future__ import annotations

import hiredis
import pytest

from gateway.stores.redis import Argument, Form, Script

SCRIPT = Script.of("some", "return 1")


@pytest.mark.parametrize("keys", [(), ("a", "b")])
@pytest.mark.parametrize("arguments", [(), ("x", 7, b"\x00\r\n*1\r\n", "")])
@pytest.mark.parametrize("own", [("done", 12, b"$3\r\nabc", "é"), ("done",)])
def test_a_filled_form_is_the_command(
    keys: tuple[str, ...], own: tuple[Argument, ...], arguments: tuple[Argument, ...]
) -> None:
    whole = ("EVALSHA", SCRIPT.sha, len(keys) + 1, *keys, *own, *arguments)
    assert Form.of(SCRIPT, keys, len(own), arguments).filled(own) == hiredis.pack_command(whole)  # type: ignore[arg-type]


@pytest.mark.parametrize("own", [(), ("done",), ("done", "a", "b")])
def test_a_form_takes_as_many_values_as_it_has_blanks(own: tuple[Argument, ...]) -> None:
    with pytest.raises(ValueError, match="blanks"):
        Form.of(SCRIPT, ("a",), 2, ()).filled(own)
