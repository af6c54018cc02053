"""The drawing of a run."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from rich.console import Console

from holdfast.cli.run.timeline import draw, span_words, step_line
from holdfast.client import AttemptView, LetterView, RunDescription, Sealed, StepView
from holdfast.core.failure import Failure
from holdfast.core.states import RunKind, RunStatus

BEGIN = datetime(2026, 1, 1, 12, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return BEGIN + timedelta(seconds=seconds)


def step(key: str, since: float | None, until: float | None, **others: Any) -> StepView:
    values: dict[str, Any] = {
        "key": key,
        "kind": "activity",
        "attempts": 1,
        "started_at": None if since is None else at(since),
        "at": None if until is None else at(until),
        "output": None,
        "failure": None,
        "failed": (),
    }
    return StepView(**values | others)


def run(*journal: StepView, **others: Any) -> RunDescription:
    values: dict[str, Any] = {
        "id": UUID(int=7),
        "kind": RunKind.WORKFLOW,
        "name": "ship-order",
        "lane": "default",
        "priority": "medium",
        "status": RunStatus.SUCCEEDED,
        "tags": {"customer": "acme"},
        "created_at": BEGIN,
        "due_at": None,
        "first_claim_at": BEGIN,
        "ended_at": at(10),
        "worker": None,
        "parent": None,
        "root": UUID(int=7),
        "continued_from": None,
        "continuation": None,
        "input": {"number": 17},
        "output": "shipped",
        "failure": None,
        "deadline": None,
        "crashes": 0,
        "cancel_requested": False,
        "progress": {},
        "attempts": (),
        "blocked_reason": None,
        "waits_for": (),
        "since": at(10),
        "state": {},
        "journal": journal,
        "inbox": (),
    }
    return RunDescription(**values | others)


def drawn(description: RunDescription, **options: Any) -> list[str]:
    console = Console(width=140, color_system=None)
    with console.capture() as capture:
        console.print(draw(description, width=140, **options))
    return capture.get().splitlines()


def line_of(lines: list[str], word: str) -> str:
    (found,) = (line for line in lines if line.startswith(word))
    return found


def test_steps_are_bars_on_one_scale() -> None:
    lines = drawn(run(step("pack#1", 0, 5, output="box"), step("send#1", 5, 10)))
    first, second = line_of(lines, "pack#1"), line_of(lines, "send#1")
    assert (first.count("━"), second.count("━")) == (17, 16)
    assert first.index("━") < second.index("━")
    assert "5.00 s" in first
    assert '"box"' in first


def test_what_the_run_lets_everybody_know_is_shown() -> None:
    assert line_of(drawn(run(state={"progress": {"done": 5}})), "state") == 'state     progress = {"done": 5}'


def test_a_timer_is_a_mark_after_what_came_before() -> None:
    line = line_of(drawn(run(step("pack#1", 0, 5), step("timer#1", None, 10, kind="timer"))), "timer#1")
    assert "┄" in line
    assert "◆" in line
    assert "━" not in line


def test_failed_attempts_are_shown_with_their_reason_and_what_comes_next() -> None:
    failed = AttemptView(
        key="pack#1",
        number=1,
        started_at=at(0),
        at=at(1),
        next_at=at(3),
        failure=Failure(type="shop:OutOfStock", message="no boxes"),
    )
    lines = drawn(run(step("pack#1", 3, 4, failed=(failed,), attempts=2)))
    assert "OutOfStock: no boxes  → again" in line_of(lines, "pack#1 attempt 1")
    assert "(attempt 2)" in lines[-2]


def test_an_open_run_says_what_it_waits_for() -> None:
    letter = LetterView(number=1, kind="signal", name="parcel", key=None, payload=1, at=at(4))
    waiting = run(
        step("pack#1", 0, 5),
        status=RunStatus.WAITING,
        ended_at=None,
        output=None,
        waits_for=("a signal",),
        inbox=(letter,),
        crashes=2,
        cancel_requested=True,
        deadline=at(99),
    )
    text = "\n".join(drawn(waiting))
    for words in ("waits for a signal", "inbox     signal parcel", "2 workers died", "requested", "timeout"):
        assert words in text


def test_a_blocked_run_says_why() -> None:
    blocked = run(status=RunStatus.BLOCKED, ended_at=None, blocked_reason="the code asks for send#1")
    assert "blocked   the code asks for send#1" in "\n".join(drawn(blocked))


def test_a_failed_run_says_why() -> None:
    failure = Failure(type="shop:OutOfStock", message="no boxes")
    failed = run(step("pack#1", 0, 1, failure=failure), status=RunStatus.FAILED, failure=failure, output=None)
    assert line_of(drawn(failed), "failed").endswith("OutOfStock: no boxes")


def test_a_long_run_is_cut_in_the_middle_unless_all_is_asked_for() -> None:
    long = run(*(step(f"pack#{n}", n, n + 1) for n in range(100)))
    lines = drawn(long)
    assert any("… 60 more (--all)" in line for line in lines)
    assert sum(line.startswith("pack#") for line in lines) == 40
    assert sum(line.startswith("pack#") for line in drawn(long, everything=True)) == 100


def test_what_users_wrote_is_not_taken_for_markup() -> None:
    tricky = run(step("pack#1", 0, 1, output="[red]not markup[/red]"), name="ship [bold]", input={"a": "[/]"})
    text = "\n".join(drawn(tricky))
    assert "[red]not markup[/red]" in text
    assert "ship [bold]" in text


def test_what_cannot_be_read_here_says_so() -> None:
    sealed = Sealed(reason="a payload was written with a codec")
    assert "a payload was written with a codec" in "\n".join(drawn(run(input=sealed)))


def test_a_step_as_a_line() -> None:
    assert step_line(step("pack#1", 0, 0.25, output="box")).plain == '  pack#1  250 ms  "box"'


def test_durations_in_words() -> None:
    spans = (timedelta(milliseconds=12), timedelta(seconds=3.25), timedelta(hours=1, minutes=2), timedelta(days=11))
    assert [span_words(span) for span in spans] == ["12 ms", "3.25 s", "1:02:00", "11 days, 0:00:00"]
