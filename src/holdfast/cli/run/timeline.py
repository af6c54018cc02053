"""The drawing of a run: each step on a common scale of time, with its attempts and what came of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from holdfast.cli.output import plain
from holdfast.cli.run.colours import COLOURS
from holdfast.cli.run.view import kind_word
from holdfast.client import AttemptView, RunDescription, Sealed, StepView
from holdfast.core.failure import Failure
from holdfast.core.progress import Progress

_BAR = 32
_FIRST, _LAST = 30, 10
"""Of a long run these many steps are drawn, from its beginning and its end."""
_VALUE = 60
_STYLES = {
    "activity": "blue",
    "timer": "magenta",
    "signal": "cyan",
    "cancel": "red",
    "state": "bright_black",
    "update": "cyan",
    "reply": "cyan",
    "child": "green",
    "patch": "green",
}


@dataclass(frozen=True, slots=True)
class _Scale:
    """Where on the line a time is."""

    begin: datetime
    span: timedelta
    cells: int

    def cell(self, at: datetime) -> int:
        share = (at - self.begin) / self.span if self.span else 0.0
        return min(self.cells - 1, max(0, int(share * self.cells)))


def draw(run: RunDescription, *, width: int = 120, everything: bool = False) -> RenderableType:
    """The run for people: head, input, steps, what it waits for, and how it ended."""
    longest = 100_000 if everything else max(_VALUE, width - 12)
    parts: list[RenderableType] = [_head(run)]
    parts.append(_labelled("input", _short(run.input, longest)))
    if run.journal:
        parts.append(_steps(run, width=width, everything=everything))
    parts += [
        _labelled("progress", f"{progress_words(one)}  ({key})", style="cyan") for key, one in run.progress.items()
    ]
    parts += [_labelled("state", f"{name} = {_short(value, longest)}") for name, value in run.state.items()]
    parts += [
        _labelled("inbox", f"{letter.kind} {letter.name}, since {_clock(letter.at)}, not seen yet")
        for letter in run.inbox
    ]
    parts += [
        _labelled("waits for", f"{words}  (since {_clock(run.since)})", style="magenta") for words in run.waits_for
    ]
    parts += [_labelled(label, words, style=style) for label, words, style in _remarks(run, longest)]
    return Group(*parts)


def step_line(step: StepView) -> Text:
    """A step as one line, for where there is no room or no terminal to draw on."""
    line = Text(f"  {step.key}", style=_STYLES[step.kind])
    line.append(f"  {_took(step)}", style="dim")
    line.append("  ")
    line.append(_outcome(step, _VALUE))
    return line


def progress_words(progress: Progress) -> str:
    """How far an attempt is: ``40 %, page 12 of 30``."""
    share = [] if progress.fraction is None else [f"{progress.fraction:.0%}".replace("%", " %")]
    message = [] if progress.message is None else [progress.message]
    return f"{', '.join([*share, *message]) or 'under way'}, at {_clock(progress.at)}"


def span_words(span: timedelta) -> str:
    """A duration as people say it: ``12 ms``, ``3.25 s``, ``1:02:00``."""
    seconds = max(0.0, span.total_seconds())
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    return f"{seconds:.2f} s" if seconds < 100 else str(timedelta(seconds=round(seconds)))


def _head(run: RunDescription) -> Text:
    head = Text.assemble((run.name, "bold"), f"  {run.id}  ", (str(run.status), COLOURS[run.status]))
    end = run.ended_at or datetime.now(UTC)
    words = [kind_word(run.kind), f"lane {run.lane}", run.priority, f"started {_clock(run.created_at)}"]
    words.append(f"{'took' if run.ended_at else 'for'} {span_words(end - run.created_at)}")
    if run.version is not None:
        words.insert(1, f"version {run.version}")
    if run.worker:
        words.append(f"held by {run.worker}")
    words += [f"{name}={value}" for name, value in run.tags.items()]
    words += [f"{run.continuation} of {run.continued_from}"] if run.continued_from else []
    head.append("\n" + " · ".join(words), style="dim")
    return head


def _steps(run: RunDescription, *, width: int, everything: bool) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 1))
    table.add_column("step", no_wrap=True, max_width=40)
    table.add_column("when", no_wrap=True, min_width=_BAR)
    table.add_column("took", justify="right", no_wrap=True)
    table.add_column("outcome", overflow="fold")
    scale = _scale(run)
    journal: Sequence[StepView] = run.journal
    left_out = 0 if everything else max(0, len(journal) - _FIRST - _LAST)
    longest = 100_000 if everything else max(24, width - _BAR - 50)
    previous = scale.begin
    for number, step in enumerate(journal):
        if left_out and _FIRST <= number < _FIRST + left_out:
            if number == _FIRST:
                table.add_row(Text(f"… {left_out} more (--all)", style="dim"))
            continue
        for attempt in step.failed:
            table.add_row(*_attempt_cells(step, attempt, scale, longest))
        if step.at is not None:
            since = step.started_at or previous
            line = _bar(scale, since, step.at, _STYLES[step.kind], ghost=step.started_at is None)
            table.add_row(
                Text(step.key, style=_STYLES[step.kind]), line, Text(_took(step), style="dim"), _outcome(step, longest)
            )
            previous = step.at
    return table


def _scale(run: RunDescription) -> _Scale:
    times = [at for step in run.journal for at in (step.started_at, step.at) if at is not None]
    begin = min([run.first_claim_at or run.created_at, *times])
    end = max([run.ended_at or run.since, *times])
    return _Scale(begin, end - begin, _BAR)


def _bar(scale: _Scale, since: datetime, until: datetime, style: str, *, ghost: bool) -> Text:
    """Solid from start to end; where the start was not recorded, dotted from what came before, with a mark."""
    first, last = scale.cell(since), scale.cell(until)
    if ghost:
        return Text.assemble(" " * first, ("┄" * (last - first), "dim"), ("◆", style))
    return Text.assemble(" " * first, ("━" * (last - first + 1), style))


def _attempt_cells(step: StepView, attempt: AttemptView, scale: _Scale, longest: int) -> tuple[Text, Text, Text, Text]:
    again = f"  → again {_clock(attempt.next_at)}" if attempt.next_at else ""
    return (
        Text(f"{step.key} attempt {attempt.number}", style="yellow"),
        _bar(scale, attempt.started_at or attempt.at, attempt.at, "yellow", ghost=False),
        Text(span_words(attempt.at - attempt.started_at) if attempt.started_at else "", style="dim"),
        Text(_cut(_failure_line(attempt.failure), longest) + again, style="yellow"),
    )


def _outcome(step: StepView, longest: int) -> Text:
    tries = f"  (attempt {step.attempts})" if step.attempts > 1 else ""
    if step.failure is not None:
        return Text(_cut(_failure_line(step.failure), longest) + tries, style="red")
    if step.kind in ("timer", "cancel", "patch"):
        return Text("")
    return Text(_short(step.output, longest) + tries)


def _took(step: StepView) -> str:
    if step.at is None or step.started_at is None:
        return ""
    return span_words(step.at - step.started_at)


def _remarks(run: RunDescription, longest: int) -> list[tuple[str, str, str]]:
    found: list[tuple[str, str, str]] = []
    if run.blocked_reason:
        found.append(("blocked", run.blocked_reason, "yellow"))
    if run.cancel_requested and not run.status.ended:
        found.append(("cancel", "requested", "red"))
    if run.crashes:
        found.append(("crashes", f"{run.crashes} workers died while they held it, since it last got on", "yellow"))
    if run.deadline and not run.status.ended:
        found.append(("timeout", f"at {_clock(run.deadline)}", "dim"))
    if run.failure is not None:
        found.append(("failed", _failure_line(run.failure), "red"))
    elif run.ended_at and run.output is not None:
        found.append(("output", _short(run.output, longest), ""))
    return found


def _failure_line(failure: Failure | Sealed) -> str:
    if isinstance(failure, Sealed):
        return failure.reason
    return f"{failure.type.rpartition(':')[2]}: {failure.message}"


def _labelled(label: str, words: str, *, style: str = "") -> Text:
    return Text.assemble((f"{label:<10}", "dim"), (words, style))


def _short(value: object, longest: int) -> str:
    if isinstance(value, Sealed):
        return value.reason
    return _cut(json.dumps(value, ensure_ascii=False, default=plain), longest)


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def _clock(at: datetime) -> str:
    local = at.astimezone()
    today = local.date() == datetime.now(UTC).astimezone().date()
    return local.strftime("%H:%M:%S") if today else local.strftime("%Y-%m-%d %H:%M:%S")
