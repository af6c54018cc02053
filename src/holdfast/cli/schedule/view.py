"""A schedule for programs and for people. The names of the JSON form stay as they are, new ones may be added."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from rich.table import Table
from rich.text import Text

from holdfast.cli.run.view import kind_word
from holdfast.client import Schedule, ScheduleStatus

_COLOURS = {
    ScheduleStatus.ACTIVE: "green",
    ScheduleStatus.PAUSED: "yellow",
    ScheduleStatus.INACTIVE: "dim",
    ScheduleStatus.ENDED: "dim",
}


def as_json(schedule: Schedule) -> dict[str, object]:
    """All fields of a schedule by their names in Python; ``kind`` is workflow or job."""
    view: dict[str, object] = {field.name: getattr(schedule, field.name) for field in fields(schedule)}
    view["kind"] = kind_word(schedule.kind)
    return view


def table(schedules: Sequence[Schedule]) -> Table:
    """One line for each."""
    drawn = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("name", "status", "starts", "when", "next", "runs"):
        drawn.add_column(column, no_wrap=column in {"status", "next"})
    for one in schedules:
        drawn.add_row(
            Text(one.name),
            Text(one.status, style=_COLOURS[one.status]),
            Text(one.target),
            Text(when_words(one)),
            moment_words(one.next_at, one.tz) if one.status is ScheduleStatus.ACTIVE else "",
            str(one.made),
        )
    return drawn


def lines(one: Schedule) -> Iterator[Text]:
    """All that is worth knowing of one, line by line."""
    yield Text.assemble(
        (one.name, "bold"), "  ", (one.status, _COLOURS[one.status]), f"  made in {_ORIGINS[one.origin]}"
    )
    yield _line("starts", f"{kind_word(one.kind)} {one.target!r} in lane {one.lane!r}, priority {one.priority}")
    yield _line("when", when_words(one))
    if one.cadence != one.when:
        yield _line("", one.cadence)
    if one.start or one.end:
        yield _line(
            "", f"from {moment_words(one.start, one.tz) or 'ever'} until {moment_words(one.end, one.tz) or 'ever'}"
        )
    if one.jitter:
        yield _line("jitter", f"up to {_span(one.jitter)} after each tick")
    limit = f", {one.catch_up_limit} at most" if one.catch_up == "all" else ""
    yield _line("policies", f"overlap {one.overlap}, catch-up {one.catch_up}{limit}")
    yield _line("input", "cannot be read here: the codec is missing" if one.input is None else _input(one))
    if one.tags:
        yield _line("tags", ", ".join(f"{name}={value}" for name, value in one.tags.items()))
    if one.status is ScheduleStatus.ACTIVE:
        yield _line("next", moment_words(one.next_at, one.tz))
    if one.last_tick is not None:
        last = f", run {one.last_run}" if one.last_run else ""
        yield _line("last", f"{moment_words(one.last_tick, one.tz)}{last}")
    yield _line("so far", f"{one.made} runs, {one.skipped} ticks skipped, {one.missed} missed")
    if one.running:
        yield _line("running", "  ".join(map(str, one.running)))
    if one.queued:
        yield _line("queued", "  ".join(moment_words(tick, one.tz) for tick in one.queued[:10]))
    if one.problem:
        yield Text.assemble(_line("problem", ""), (one.problem, "bold yellow"))


_ORIGINS = {"code": "the code", "client": "a client"}


def when_words(one: Schedule) -> str:
    """Its times as they were written, with the zone where that does not say it."""
    if one.every is not None or f"in {one.tz}" in one.when:
        return one.when
    return f"{one.when} in {one.tz}"


def moment_words(moment: datetime | None, tz: str) -> str:
    """A time on the wall clock of the schedule."""
    return "" if moment is None else moment.astimezone(ZoneInfo(tz)).strftime("%a %Y-%m-%d %H:%M:%S %z")


def _input(one: Schedule) -> str:
    words = [f"{name}={value!r}" for name, value in (one.input or {}).items()]
    if one.tick_parameter:
        words.append(f"{one.tick_parameter}=<the time of the tick>")
    return ", ".join(words) or "none"


def _span(span: timedelta) -> str:
    return f"{span.total_seconds():g} s" if span < timedelta(minutes=2) else str(span)


def _line(name: str, words: str) -> Text:
    return Text.assemble((f"  {name:<9}", "dim"), words)
