"""A worker of the test's own: plays a run step by step, without a database, and plays its journal again.

It does what the contract asks of a worker: it gives out the seqs, feeds what is "committed", and activates.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

from holdfast.core.errors import HoldfastError
from holdfast.core.failure import Failure
from holdfast.core.journal import Entry, EntryKind, attempt_key, cancel_key, patch_key, signal_key
from holdfast.workflow.activity import Activity
from holdfast.workflow.info import RunInfo
from holdfast.workflow.instance import Activation, Command, Ended, Instance, RunActivity, StartTimer
from holdfast.workflow.patches import NewWay
from holdfast.workflow.signal import Signal
from holdfast.workflow.workflow import Workflow

BEGAN = datetime(2026, 3, 1, 9, 0, tzinfo=UTC)
RUN_ID = UUID("0195b2c0-7e00-7a11-8c11-0123456789ab")
A_SECOND = timedelta(seconds=1)


@dataclass(frozen=True)
class Waiting:
    """What a run waits for at one point: all that a worker could see of it."""

    commands: tuple[Command, ...]
    next_timer: datetime | None
    waits_for_signal: bool
    end: Ended | None

    @property
    def comparable(self) -> tuple[Any, ...]:
        """Without the traceback, which knows the lines of the machinery that was passed through."""
        end = self.end
        if end is not None and end.failure is not None:
            return (*self._waits, end.ending, end.failure.type, end.failure.message, end.failure.reason)
        return (*self._waits, end)

    @property
    def _waits(self) -> tuple[Any, ...]:
        # The activity itself may be a copy with options, made anew each time.
        commands = [
            (c.activity.name, c.key, c.input, c.digest, c.attempts, c.not_before, c.first_asked)
            if isinstance(c, RunActivity)
            else c
            for c in self.commands
        ]
        return (commands, self.next_timer, self.waits_for_signal)


class Stage:
    """One run of ``workflow``, driven by the test."""

    def __init__(
        self,
        workflow: Workflow[..., Any],
        *args: object,
        run_id: UUID = RUN_ID,
        journal: Sequence[Entry] = (),
        resumed: bool = False,
    ) -> None:
        self.workflow = workflow
        self.input = workflow.parameters.encode(args, {}).text
        self.info = RunInfo(
            run_id=run_id,
            name=workflow.name,
            lane="default",
            priority="medium",
            created_at=BEGAN,
            tags={"team": "a"},
            root=run_id,
        )
        self.journal = list(journal)
        self.clock = max([BEGAN, *(entry.at for entry in journal)])
        self.withdrawn: list[str] = []
        self.asked: list[Command] = []
        self._inbox = itertools.count(1)
        self.last = Activation((), (), None, None)
        self.instance = self.made(self.journal, resumed=resumed)

    def made(self, journal: Sequence[Entry], *, resumed: bool = False) -> Instance:
        """Another instance of the same run."""
        return Instance(self.workflow, self.info, self.input, BEGAN, journal, resumed=resumed)

    # ---- what a worker does ----

    def go(self) -> Activation:
        """One activation; a run that is blocked is an error here, see :meth:`blocked`."""
        self.last = self.instance.activate()
        if self.last.blocked is not None:
            raise self.last.blocked
        self.asked += self.last.commands
        self.withdrawn += self.last.withdrawn
        for way in self.last.patches:
            self.decide(way)
        return self.last

    def decide(self, way: NewWay) -> None:
        """The run takes this new way: journaled before anything else happens."""
        self.record(EntryKind.PATCH, patch_key(way.patch), output=way.output, digest=way.digest)

    def blocked(self) -> HoldfastError:
        blocked = self.instance.activate().blocked
        assert blocked is not None
        return blocked

    def record(self, kind: EntryKind, key: str, **fields: Any) -> Entry:
        """Commits one entry and feeds it, without an activation."""
        at = fields.pop("at", None)
        if at is None:
            self.clock += A_SECOND
            at = self.clock
        self.clock = max(self.clock, at)
        entry = Entry(self.instance.allocate(), kind, key, at, **fields)
        self.journal.append(entry)
        self.instance.feed(entry)
        return entry

    def finish(self, key: str, output: str = "null") -> Activation:
        """The activity ``key`` gives this JSON text."""
        self.record(EntryKind.ACTIVITY, key, digest=self._digest(key), output=output)
        return self.go()

    def fail(self, key: str, error: BaseException) -> Activation:
        """The activity ``key`` raises this, for the last time."""
        self.record(EntryKind.ACTIVITY, key, digest=self._digest(key), error=Failure.of(error).to_json())
        return self.go()

    def stumble(self, key: str, error: BaseException, attempt: int, rest: timedelta) -> None:
        """An attempt of the activity ``key`` raises this, and another one will follow."""
        self.record(
            EntryKind.ATTEMPT,
            attempt_key(key, attempt),
            error=Failure.of(error).to_json(),
            attempts=attempt,
            not_before=self.clock + rest,
        )

    def work(self, key: str) -> Activation:
        """The activity ``key`` is executed, for real."""
        command = next(c for c in self.open if c.key == key)
        assert isinstance(command, RunActivity)
        try:
            output = outcome_of(command)
        except Exception as error:
            return self.fail(key, error)
        return self.finish(key, output)

    def fire(self, key: str) -> Activation:
        """The time of the timer ``key`` comes."""
        (deadline,) = [c.deadline for c in self.open if isinstance(c, StartTimer) and c.key == key]
        self.record(EntryKind.TIMER, key, at=max(self.clock, deadline))
        return self.go()

    def send(self, signal: Signal[Any], value: object) -> Activation:
        self.post(signal, value)
        return self.go()

    def post(self, signal: Signal[Any], value: object) -> Entry:
        """Like :meth:`send`, without an activation."""
        text, _ = signal.returns.encode(value)
        return self.record(EntryKind.SIGNAL, signal_key(signal.name, next(self._inbox)), output=text)

    def cancel(self, *, note: str | None = None) -> Activation:
        self.record(EntryKind.CANCEL, cancel_key(next(self._inbox)), output=note)
        return self.go()

    def move(self, *, resumed: bool = True) -> Activation:
        """The run is dropped here and goes on from its journal, as in another process."""
        self.instance.close()
        self.instance = self.made(self.journal, resumed=resumed)
        return self.go()

    # ---- what can be seen ----

    @property
    def open(self) -> list[Command]:
        return self.instance.open_commands()

    @property
    def open_keys(self) -> list[str]:
        return [command.key for command in self.open]

    @property
    def result(self) -> Ended:
        assert self.last.end is not None, f"the run has not ended; it waits for {self.open_keys}"
        return self.last.end

    def waiting(self, instance: Instance, last: Activation) -> Waiting:
        return Waiting(tuple(instance.open_commands()), instance.next_timer, instance.waits_for_signal, last.end)

    def _digest(self, key: str) -> bytes | None:
        # As it was asked for last: what a run asked for before it was left behind may never have been durable.
        asked = (c.digest for c in reversed(self.asked) if isinstance(c, RunActivity) and c.key == key)
        return next(asked, None)


def outcome_of(command: RunActivity) -> str:
    """Executes the function of an activity that never really waits."""
    activity: Activity[..., Any] = command.activity
    args, kwargs = activity.parameters.decode(command.input)
    value = activity.fn(*args, **kwargs)
    if activity.is_async:
        try:
            value.send(None)
        except StopIteration as done:
            value = done.value
        else:
            raise AssertionError("an activity of these tests does not wait")
    text, _ = activity.returns.encode(value)
    return text


@dataclass
class Story:
    """A run that was executed live: its journal, and what it waited for after each of its entries."""

    stage: Stage
    steps: list[Waiting] = field(default_factory=list[Waiting])

    @property
    def end(self) -> Ended | None:
        return self.steps[-1].end

    @property
    def keys(self) -> list[str]:
        return [entry.key for entry in self.stage.journal]

    def is_replayed_from_everywhere(self) -> None:
        """Dropped after any entry, the run asks for the same and ends the same, in small steps and in one."""
        journal = self.stage.journal
        for cut in range(len(journal) + 1):
            instance = self.stage.made(journal[:cut])
            last = instance.activate()
            assert last.blocked is None, last.blocked
            self._equals(cut, instance, last)
            for position in range(cut, len(journal)):
                instance.feed(journal[position])
                last = instance.activate()
                assert last.blocked is None, last.blocked
                self._equals(position + 1, instance, last)
            instance.close()

            at_once = self.stage.made(journal[:cut])
            if cut % 2:
                at_once.activate()
            for entry in journal[cut:]:
                at_once.feed(entry)
            self._equals(len(journal), at_once, at_once.activate())
            at_once.close()

    def _equals(self, position: int, instance: Instance, last: Activation) -> None:
        replayed = self.stage.waiting(instance, last)
        assert replayed.comparable == self.steps[position].comparable, f"after {self.keys[:position]}"


def play(
    workflow: Workflow[..., Any],
    *args: object,
    seed: int | random.Random = 0,
    signals: Sequence[tuple[Signal[Any], object]] = (),
    cancels: int = 0,
    run_id: UUID = RUN_ID,
    most: int = 400,
) -> Story:
    """Executes a run to its end, in an order of events that ``seed`` chooses."""
    chance = seed if isinstance(seed, random.Random) else random.Random(seed)
    stage = Stage(workflow, *args, run_id=run_id)
    story = Story(stage)
    last = stage.go()
    story.steps += [stage.waiting(stage.instance, last)] * (1 + len(stage.journal))
    to_send = list(signals)
    while last.end is None and len(stage.journal) < most:
        events: list[Callable[[], Activation]] = []
        for command in stage.open:
            if isinstance(command, RunActivity):
                events.append(partial(stage.work, command.key))
            elif isinstance(command, StartTimer) and command.deadline == stage.instance.next_timer:
                events.append(partial(stage.fire, command.key))
        if to_send:
            signal, value = to_send[0]
            events.append(partial(stage.send, signal, value))
        if cancels:
            events.append(stage.cancel)
        assert events, f"nothing can happen any more; the journal: {[entry.key for entry in stage.journal]}"
        before = len(stage.journal)
        last = chance.choice(events)()
        kind = stage.journal[before].kind
        if kind is EntryKind.SIGNAL:
            to_send.pop(0)
        cancels -= kind is EntryKind.CANCEL
        # One for each entry: that the run has taken the new way of a patch changes nothing about what it waits for.
        story.steps += [stage.waiting(stage.instance, last)] * (len(stage.journal) - before)
    stage.instance.close()
    return story
