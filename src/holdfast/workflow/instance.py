"""One run in memory: what a worker drives."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextvars import Context
from datetime import datetime
from typing import Any, NamedTuple, cast
from uuid import UUID

from holdfast.core.errors import ForbiddenInWorkflow, HoldfastError, NonDeterminismError, RunTimedOut
from holdfast.core.failure import Failure
from holdfast.core.journal import Entry, EntryKind, child_id
from holdfast.core.remake import type_name
from holdfast.core.states import Ending
from holdfast.workflow.activity import Activity
from holdfast.workflow.child import ChildOptions, ChildStep
from holdfast.workflow.continue_as_new import Continued
from holdfast.workflow.delivery import Delivery
from holdfast.workflow.foresight import outcomes_needed
from holdfast.workflow.handle import Timer
from holdfast.workflow.info import RunInfo
from holdfast.workflow.loop import WorkflowLoop
from holdfast.workflow.mismatch import left_over
from holdfast.workflow.notes import Note
from holdfast.workflow.outliving import Outliving
from holdfast.workflow.outside import Outside
from holdfast.workflow.patches import NewWay
from holdfast.workflow.step import Step
from holdfast.workflow.task import WorkflowTask
from holdfast.workflow.workflow import Workflow

_MOST_WAITS = 4


class RunActivity(NamedTuple):
    """The worker is to run this activity and to record its outcome under ``key``."""

    key: str
    activity: Activity[..., Any]
    """With the options of this call."""
    input: str
    """JSON text."""
    digest: bytes
    attempts: int
    """The failed attempts that are in the journal."""
    not_before: datetime | None
    """When the back-off of the last one ends."""
    first_asked: datetime
    """The run's time when it was asked for: ``total_timeout`` counts from there."""
    details: str | None = None
    """What the failed attempts said last by a heartbeat, as JSON text."""
    outside: Outside | None = None
    """What is known of the next attempt, if its outcome comes from outside."""


class StartTimer(NamedTuple):
    """The worker is to record under ``key`` that ``deadline`` has come, once it has."""

    key: str
    deadline: datetime


class StartChild(NamedTuple):
    """The worker is to start this workflow as a child, which tells its outcome under ``key``."""

    key: str
    workflow: Workflow[..., Any]
    input: str
    """JSON text."""
    digest: bytes
    options: ChildOptions


Command = RunActivity | StartTimer | StartChild


class Ended(NamedTuple):
    """How the run ended."""

    ending: Ending
    output: str | None = None
    """JSON text."""
    failure: Failure | None = None
    next_input: str | None = None
    """The arguments of the run that goes on for it, as JSON text."""
    unread: Sequence[str] = ()
    """The keys of what has come to it and goes on to that."""


class Activation(NamedTuple):
    """What came of an activation."""

    commands: Sequence[Command]
    """What was asked for, is waited for, and was not in a command before; in the order in which it was asked for."""
    withdrawn: Sequence[str]
    """The keys of earlier commands that nobody waits for any more."""
    end: Ended | None
    """Set if the run has ended: then everything that was asked for is void."""
    blocked: HoldfastError | None
    """Set if the run cannot go on with this code: nothing of it may be written, and it is to be closed."""
    patches: Sequence[NewWay] = ()
    """The new ways that the run takes from now on: to be journaled before anything else of this activation."""
    notes: Sequence[Note] = ()
    """What it writes down for others: to be journaled with what the run writes next."""
    closing: Sequence[UUID] = ()
    """Children that are to be cancelled."""


class Instance:
    """A run in memory, made from its journal, which goes on live where the journal ends.

    Driven by one thread, from callbacks of its loop and not from inside a task. Nothing it does is durable: the worker
    writes what it asks for, and feeds what was committed.

    Args:
        workflow: its code.
        info: the run.
        input_text: the arguments that it was started with, as JSON text.
        began: the time of its first claim, at which its own time begins.
        journal: what is committed so far.
        resumed: the run was activated before, anywhere, so that what its code does before the next delivery it has done
            before: ``logger`` keeps silent about it, and a patch in it is not taken.
        earlier: the runs that it is to its code, each until the entry with that seq is delivered; then it is ``info``.
    """

    __slots__ = ("_began", "_ended", "_input", "_loop", "_main", "_outliving", "_workflow", "next_seq", "settled")

    next_seq: int
    """The seq that the next entry gets."""
    settled: bool
    """Whether its code has run as far as it goes with all that was fed."""

    def __init__(
        self,
        workflow: Workflow[..., Any],
        info: RunInfo,
        input_text: str,
        began: datetime,
        journal: Sequence[Entry],
        *,
        resumed: bool = False,
        earlier: Sequence[tuple[RunInfo, int]] = (),
    ) -> None:
        self._workflow = workflow
        self._input = input_text
        delivery = Delivery(began, journal, resumed=resumed)
        self._loop = WorkflowLoop(info, delivery, earlier)
        self._loop.workflow = workflow
        self._began = False
        self._main: WorkflowTask[Any] | None = None
        self._ended: Ended | None = None
        self._outliving: Outliving | None = None
        self.settled = False
        self.next_seq = delivery.highest + 1

    # ---- the journal ----

    def allocate(self) -> int:
        """The seq of an entry that is about to be written."""
        seq = self.next_seq
        self.next_seq = seq + 1
        return seq

    def feed(self, entry: Entry) -> None:
        """Takes note of an entry that has been committed; it has its effect in the next activation.

        Raises:
            ValueError: entries are fed in the order of seq.
        """
        self._loop.delivery.feed(entry)
        if self._outliving:
            self._outliving.feed(entry, child_id(entry) if entry.kind is EntryKind.STARTED else None)
        self.settled = False
        if entry.seq >= self.next_seq:
            self.next_seq = entry.seq + 1

    # ---- execution ----

    def activate(self) -> Activation:
        """Runs the code as far as it goes: delivers what can be delivered, and gives what was asked for meanwhile."""
        loop = self._loop
        delivery = loop.delivery
        if not loop.dropped and self._ended is None and delivery.blocked is None:
            loop.turn(self._advance)
            self._settle()
        if delivery.blocked is not None:
            return Activation((), (), None, delivery.blocked)
        self.settled = True
        patches = () if delivery.patches is None else delivery.new_ways(delivery.patches)
        notes = () if delivery.notes is None else delivery.notes.take()
        if self._outliving:
            return Activation((), self._withdrawn(), None, None, patches, notes, self._outliving.to_cancel())
        if (ended := self._ended) is not None:
            if self._outliving is not None and ended.next_input is not None:
                # With what has come while it waited for its children.
                ended = ended._replace(unread=[*ended.unread, *delivery.unread])
            return Activation((), (), ended, None, patches, notes)
        return Activation(
            self._commands() if delivery.fresh else (),
            self._withdrawn() if delivery.withdrawn else (),
            None,
            None,
            patches,
            notes,
            self._closing() if delivery.closing else (),
        )

    def close(self) -> None:
        """Lets go of the run, silently. ``finally`` blocks run, but can neither write nor await."""
        self._loop.drop()
        self._main = None

    # ---- what it waits for ----

    @property
    def info(self) -> RunInfo:
        """The run."""
        return self._loop.info

    def executed_by(self, worker: str) -> None:
        """Which worker executes it from now on: for its log lines."""
        self._loop.worker = worker

    @property
    def identity(self) -> UUID:
        """The run whose work it does: what its activities are told, so that the outside knows them again."""
        return self._loop.info.run_id

    @property
    def next_timer(self) -> datetime | None:
        """The earliest deadline of an open timer."""
        return self._loop.delivery.next_timer

    @property
    def waits_for_signal(self) -> bool:
        """Whether a wait for a signal is open."""
        return self._loop.delivery.waits_for_signal

    @property
    def undecided(self) -> bool:
        """Whether the way that the run takes at a patch is not durable yet: nothing it has asked for may begin."""
        patches = self._loop.delivery.patches
        return patches is not None and bool(patches.unrecorded)

    @property
    def waits_for(self) -> str:
        """What it waits for, in short, one a line: ``signal:upgrade``, ``timer#2``, ``charge#1``."""
        if self._outliving:
            return "\n".join(self._outliving.keys[:_MOST_WAITS])
        return "\n".join(self._loop.delivery.waits_for(_MOST_WAITS))

    @property
    def waits_for_letter(self) -> bool:
        """Whether a wait for a signal is open, or a child that the code has not given up, or that it ends after."""
        return self.waits_for_signal or bool(self._loop.delivery.children) or bool(self._outliving)

    @property
    def letters_needed(self) -> int:
        """How many letters must come before the code may have something to do, if none of them is bad news."""
        if self._outliving:
            return len(self._outliving)
        return 1 if self.waits_for_signal else outcomes_needed(self._loop.delivery.children.values())

    @property
    def replaying(self) -> bool:
        """Whether the code does what it has done before."""
        return self._loop.delivery.replaying

    @property
    def left_over(self) -> NonDeterminismError | None:
        """What is wrong where the journal holds what the code, as far as it has come, has not asked for."""
        unasked = self._loop.delivery.unasked
        return None if unasked is None else left_over(unasked)

    def open_commands(self) -> list[Command]:
        """Every command that still holds, as it is now: for a run that continues from memory."""
        return [self._command(asked) for asked in self._loop.delivery.open() if asked.told]

    # ---- inside ----

    def _advance(self) -> None:
        loop = self._loop
        delivery = loop.delivery
        if not self._began:
            self._began = True
            self._begin()
        loop.run_until_quiet()
        main = self._main
        while main is not None and not main.done() and delivery.blocked is None and delivery.deliver_next():
            loop.run_until_quiet()
        if main is not None and main.done() and delivery.blocked is None:
            unasked = delivery.unasked
            if unasked is not None:
                delivery.blocked = left_over(unasked)
        # The errors of the code remember this frame, and the task keeps one of them.
        del main

    def _begin(self) -> None:
        loop = self._loop
        try:
            args, kwargs = self._workflow.parameters.decode(self._input)
        except HoldfastError as error:
            if loop.delivery.highest:
                loop.delivery.blocked = error
            else:
                self._ended = Ended(Ending.FAILED, failure=Failure.of(error))
            return
        main = loop.create_task(self._workflow.execute(*args, **kwargs), name=self._workflow.name, context=Context())
        self._main = loop.delivery.main = main

    def _settle(self) -> None:
        """If the code has ended, says how, and lets go of what it left behind."""
        main, loop = self._main, self._loop
        if main is not None and main.done() and loop.delivery.blocked is None:
            delivery = loop.delivery
            self._ended = self._end(main)
            self._main = None
            del main
            outliving = Outliving(delivery.children.values(), cancelled=delivery.unheard_cancel)
            void = [asked.key for asked in delivery.open() if asked.told and asked.key is not None]
            loop.report()
            loop.drop()
            if outliving:
                self._outliving = outliving
                delivery.withdrawn.extend(void)

    def _end(self, main: WorkflowTask[Any]) -> Ended:
        delivery = self._loop.delivery
        if main.cancelled():
            if delivery.cancelled:
                return _cancelled(delivery.cancel_note)
            return Ended(Ending.FAILED, failure=Failure.of(_cancelled_itself()))
        error = main.exception()
        if isinstance(error, Continued):
            if delivery.notes is not None:
                delivery.notes.leave()
            return Ended(Ending.CONTINUED, next_input=error.input, unread=delivery.unread)
        if error is not None:
            return Ended(Ending.FAILED, failure=Failure.of(_explained(error)))
        try:
            output, _ = self._workflow.returns.encode(main.result())
        except Exception as misfit:
            return Ended(Ending.FAILED, failure=Failure.of(misfit))
        return Ended(Ending.SUCCEEDED, output=output)

    def _commands(self) -> Sequence[Command]:
        fresh = self._loop.delivery.fresh
        if not fresh:
            return ()
        commands: list[Command] = []
        for asked in fresh:
            if asked.wanted:
                asked.told = True
                commands.append(self._command(asked))
        fresh.clear()
        return commands

    def _withdrawn(self) -> Sequence[str]:
        withdrawn = self._loop.delivery.withdrawn
        if not withdrawn:
            return ()
        keys = tuple(withdrawn)
        withdrawn.clear()
        return keys

    def _closing(self) -> Sequence[UUID]:
        closing = tuple(self._loop.delivery.closing)
        self._loop.delivery.closing.clear()
        return closing

    def _command(self, asked: Step | ChildStep | Timer) -> Command:
        if isinstance(asked, Timer):
            return StartTimer(cast("str", asked.key), asked.deadline)
        if isinstance(asked, ChildStep):
            return StartChild(asked.key, asked.workflow, asked.input, asked.digest, asked.options)
        attempts = self._loop.delivery.attempts(asked.key)
        return RunActivity(
            asked.key,
            asked.activity,
            asked.input,
            asked.digest,
            attempts.failed,
            attempts.not_before,
            asked.asked_at,
            attempts.details,
            attempts.outside,
        )


def _cancelled(note: str | None) -> Ended:
    carried: object = None if note is None else json.loads(note)
    if isinstance(carried, dict) and cast("dict[str, object]", carried).get("reason") == "timeout":
        failure = Failure(
            type=type_name(RunTimedOut), message="the run did not end within its timeout", reason="timeout"
        )
        return Ended(Ending.FAILED, failure=failure)
    return Ended(Ending.CANCELLED)


def _cancelled_itself() -> BaseException:
    return RuntimeError("the workflow raised CancelledError although nobody has cancelled the run")


def _explained(error: BaseException) -> BaseException:
    """What asyncio says of a future of another loop, in words of ours."""
    text = str(error)
    if type(error) is RuntimeError and (
        "attached to a different loop" in text or "bound to a different event loop" in text
    ):
        explained = ForbiddenInWorkflow(
            f"workflow code awaited something that belongs to another event loop ({text}): connections, locks and "
            "futures that were made outside of the run cannot be awaited in it; use them in an activity"
        )
        explained.__cause__ = error
        return explained
    return error
