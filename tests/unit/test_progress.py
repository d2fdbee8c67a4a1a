"""A bar shows how far a command is to who watches, and leaves no trace; a log gets a line for each tenth."""

from __future__ import annotations

import io

from gateway.cli.progress import LINE, QUIET_S, Bar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_on_a_terminal_it_is_drawn_over_itself_and_gone_at_the_end() -> None:
    out, clock = Terminal(), Clock()
    with Bar(200, out, clock) as bar:
        bar.show(50, "a quarter")
        bar.show(51, "too soon to be drawn again")
        clock.now_s = 1.0
        bar.show(400, "x" * 300)
    drawn = out.getvalue().split("\r")
    assert drawn[1].rstrip() == f"[{'#' * 7}{'.' * 23}]  25.0 %  a quarter"
    assert drawn[2].startswith(f"[{'#' * 30}] 100.0 %  xxx")
    assert {len(line) for line in drawn[1:4]} == {LINE}
    assert drawn[3:] == [" " * LINE, ""]


def test_a_log_gets_a_line_for_each_tenth_of_what_takes_long() -> None:
    out, clock = io.StringIO(), Clock()
    with Bar(1000, out, clock) as bar:
        bar.show(300, "quick so far")
        clock.now_s = QUIET_S
        for done in range(300, 1001):
            bar.show(done, f"at {done}")
    assert out.getvalue().splitlines() == [f"{n * 10:3} %  at {n * 100}" for n in range(3, 11)]


def test_nothing_to_do_is_no_error() -> None:
    with Bar(0, Terminal()) as bar:
        bar.show(0)
