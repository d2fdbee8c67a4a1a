"""A report as PDF: one page that a person reads at a glance, then the conversations.

The amounts are those of the report, written out in full; the file's size is bounded by listing the dearest
conversations and adding up the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import cache
from importlib.resources import as_file, files
from pathlib import Path

from fpdf import FPDF
from fpdf.enums import XPos, YPos

from gateway.reports.history import ConversationCost
from gateway.reports.patterns import change_percent
from gateway.reports.question import Group, Sums
from gateway.reports.usage_report import UsageReport, called
from pricing.money import MICROCREDITS_PER_CREDIT

CONVERSATIONS_MAX = 100
ROWS_MAX = 25
"""Models listed; the others are one line."""
_FAMILY = "TollgateSans"
_INK, _SOFT, _RULE, _BAR = (27, 34, 48), (104, 113, 128), (214, 219, 227), (46, 103, 178)
_MARGIN_MM = 18.0
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


def report_pdf(report: UsageReport, conversations: Sequence[ConversationCost], made_at: datetime) -> bytes:
    """``conversations``: dearest first, at most `CONVERSATIONS_MAX` are listed."""
    page = _Page(report, made_at)
    page.heading()
    page.figures()
    if len(report.days) > 1:
        page.chart(report.days)
    page.shares("By operation", "Operation", _rows(report.operations), report.total)
    page.shares("By model", "Model", _rows(report.models), report.total)
    listed = conversations[:CONVERSATIONS_MAX]
    if listed:
        rows = [(page.called(one), one.requests, one.cost_microcredits) for one in listed]
        page.shares(
            "Conversations",
            "Conversation",
            rows,
            report.total,
            rest="Other conversations, and requests without one or not kept",
        )
    return bytes(page.output())


class _Page(FPDF):
    def __init__(self, report: UsageReport, made_at: datetime) -> None:
        super().__init__(format="A4")
        self.report = report
        self._made_at = made_at
        for style, path in _fonts().items():
            self.add_font(_FAMILY, style, str(path))
        self._known = set(self.fonts[_FAMILY.lower()].cmap)  # type: ignore[union-attr]
        self.set_margins(_MARGIN_MM, _MARGIN_MM)
        self.set_auto_page_break(True, margin=20)
        self.set_title(self._shown(report.title))
        self.set_creation_date(made_at)
        self.set_creator("Tollgate")
        self.add_page()

    def footer(self) -> None:
        self.set_y(-14)
        self._text(8, _SOFT)
        made = self.report.calendar.label(self._made_at)
        self.cell(self.epw / 2, 5, f"Made {made}")
        self.cell(self.epw / 2, 5, f"Page {self.page_no()} of {{nb}}", align="R")

    def heading(self) -> None:
        report = self.report
        self._text(18, _INK, bold=True)
        self.multi_cell(self.epw, 8, self._shown(report.title), new_x=XPos.LMARGIN, new_y=YPos.NEXT)
        self._text(9.5, _SOFT)
        calendar = report.calendar
        between = f"{calendar.label(report.period.start)} until before {calendar.label(report.period.end)}"
        self.cell(
            self.epw,
            6,
            f"{report.kind.value.capitalize()} report, {between}",
            new_x=XPos.LMARGIN,
            new_y=YPos.NEXT,
        )
        self.ln(3)

    def figures(self) -> None:
        total, before = self.report.total, self.report.previous
        change = change_percent(total.credits_microcredits, before.credits_microcredits)
        figures = [
            ("Total cost (credits)", _amount(total.credits_microcredits), _change(change)),
            ("Requests", f"{total.requests:,}", f"{total.errors:,} failed"),
            ("Input tokens", f"{total.input_tokens:,}", f"{total.cached_input_tokens:,} from caches"),
            ("Output tokens", f"{total.output_tokens:,}", f"{total.reasoning_tokens:,} reasoning"),
        ]
        width, top = self.epw / len(figures), self.get_y()
        for number, (name, value, note) in enumerate(figures):
            self.set_xy(self.l_margin + number * width, top)
            self._text(8.5, _SOFT)
            self.cell(width, 5, name, new_x=XPos.LEFT, new_y=YPos.NEXT)
            self._text(13, _INK, bold=True)
            self.cell(width, 7, value, new_x=XPos.LEFT, new_y=YPos.NEXT)
            self._text(8.5, _SOFT)
            self.cell(width, 5, note)
        self.set_xy(self.l_margin, top + 20)
        if total.estimated or total.unpriced:
            self._text(8.5, _SOFT)
            self.multi_cell(
                self.epw,
                4.5,
                f"{total.estimated:,} requests were counted here or charged their bound, as their provider reported no "
                f"usage; {total.unpriced:,} used something without a price.",
                new_x=XPos.LMARGIN,
                new_y=YPos.NEXT,
            )
            self.ln(2)

    def chart(self, days: Sequence[Group]) -> None:
        """One bar a day. The greatest one says how high it is."""
        self._title("By day")
        height, top = 32.0, self.get_y() + 5
        most = max(day.sums.credits_microcredits for day in days)
        dates = [self.report.period.first.fromordinal(n) for n in self._ordinals()]
        by_date = {day.step: day.sums.credits_microcredits for day in days}
        slot = self.epw / len(dates)
        self.set_fill_color(*_BAR)
        for number, date in enumerate(dates):
            share = by_date.get(date.isoformat(), 0) / most if most else 0
            if share:
                left = self.l_margin + number * slot + slot * 0.12
                self.rect(left, top + height * (1 - share), slot * 0.76, height * share, style="F")
        self.set_draw_color(*_RULE)
        self.line(self.l_margin, top + height, self.l_margin + self.epw, top + height)
        self._text(7.5, _SOFT)
        every = max(1, round(len(dates) / 10))
        for number, date in enumerate(dates):
            if number % every == 0:
                self.set_xy(self.l_margin + number * slot - 4, top + height + 0.5)
                self.cell(slot + 8, 4, f"{date:%d %b}", align="C")
        self.set_xy(self.l_margin, top - 5)
        self.cell(self.epw, 4, f"highest day: {_amount(most)} credits", align="R")
        self.set_xy(self.l_margin, top + height + 7)

    def shares(
        self,
        title: str,
        column: str,
        rows: Sequence[tuple[str, int, int]],
        total: Sums,
        rest: str = "Others",
    ) -> None:
        """(name, requests, microcredits) each; what they leave of the total is the line ``rest``."""
        self._title(title)
        listed = list(rows)
        requests = total.requests - sum(row[1] for row in listed)
        credits = total.credits_microcredits - sum(row[2] for row in listed)
        if requests or credits:
            listed.append((rest, requests, credits))
        self._row((column, "Requests", "Credits", "Share"), bold=True)
        for name, count, microcredits in listed:
            share = 100 * microcredits / total.credits_microcredits if total.credits_microcredits else 0
            self._row((name, f"{count:,}", _amount(microcredits), f"{share:.1f} %"))
        self._row(("Total", f"{total.requests:,}", _amount(total.credits_microcredits), ""), bold=True)
        self.ln(4)

    def called(self, conversation: ConversationCost) -> str:
        """The title; with the id where the font lacks shapes for it."""
        title = self._shown(conversation.title or conversation.id)
        return f"{title} ({conversation.id})" if _REPLACEMENT in title else title

    def _title(self, title: str) -> None:
        if self.will_page_break(30):
            self.add_page()
        self._text(11.5, _INK, bold=True)
        self.cell(self.epw, 8, title, new_x=XPos.LMARGIN, new_y=YPos.NEXT)

    def _row(self, cells: tuple[str, str, str, str], bold: bool = False) -> None:
        if self.will_page_break(6):
            self.add_page()
        widths = (self.epw - 84, 26.0, 38.0, 20.0)
        self._text(9, _INK, bold)
        self.set_draw_color(*_RULE)
        for number, (text, width) in enumerate(zip(cells, widths, strict=True)):
            shown = self._fitting(self._shown(text), width - 2) if number == 0 else text
            self.cell(width, 6, shown, border="B", align="L" if number == 0 else "R")
        self.ln(6)

    def _text(self, size: float, color: tuple[int, int, int], bold: bool = False) -> None:
        self.set_font(_FAMILY, "B" if bold else "", size)
        self.set_text_color(*color)

    def _shown(self, text: str) -> str:
        """What the font has no shape for is shown as such, not left out."""
        return "".join(
            letter if ord(letter) in self._known else _REPLACEMENT for letter in " ".join(text.split())
        )

    def _fitting(self, text: str, width: float) -> str:
        if self.get_string_width(text) <= width:
            return text
        while text and self.get_string_width(f"{text}…") > width:
            text = text[:-1]
        return f"{text}…"

    def _ordinals(self) -> range:
        return range(self.report.period.first.toordinal(), self.report.period.after.toordinal())


@cache
def _fonts() -> dict[str, Path]:
    """Where the fonts lie. They are part of an installed package, so their places stay."""
    found = {}
    for style, name in (("", "TollgateSans.ttf"), ("B", "TollgateSans-Bold.ttf")):
        with as_file(files("gateway.reports").joinpath("fonts", name)) as path:
            found[style] = path
    return found


def _rows(groups: Iterable[Group]) -> list[tuple[str, int, int]]:
    return [
        (called(group), group.sums.requests, group.sums.credits_microcredits)
        for group in list(groups)[:ROWS_MAX]
    ]


def _change(percent: float | None) -> str:
    return "nothing before" if percent is None else f"{percent:+.1f} % on the one before"


def _amount(microcredits: int) -> str:
    """All six decimals, so that columns stand on their point."""
    whole, rest = divmod(abs(microcredits), MICROCREDITS_PER_CREDIT)
    return f"{'-' if microcredits < 0 else ''}{whole:,}.{rest:06d}"
