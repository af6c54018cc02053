"""What a run has asked for, and what of that its journal answers.

A call is known by its key: its name, and how many calls of that name there have been. One whose outcome is in the
journal is put in line for delivery; any other is handed to the worker, in the order of asking.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from heapq import heappop, heappush
from itertools import islice
from typing import TYPE_CHECKING, Any
from uuid import UUID

from holdfast.core.errors import HoldfastError
from holdfast.core.journal import WOKEN, Entry, EntryKind, cancel_key, child_id
from holdfast.core.parameters import Encoded
from holdfast.workflow.child import ChildStep
from holdfast.workflow.handle import Timer
from holdfast.workflow.mailbox import Mailbox
from holdfast.workflow.mismatch import other_step, other_timer
from holdfast.workflow.notes import Notes
from holdfast.workflow.patches import NewWay, Patches
from holdfast.workflow.step import Step

if TYPE_CHECKING:
    from holdfast.workflow.activity import Activity
    from holdfast.workflow.workflow import Workflow

RECEIVED = (EntryKind.SIGNAL, EntryKind.CANCEL, EntryKind.UPDATE)
"""What comes to the inbox, and is taken when the code comes to it."""


class Agenda:
    """What is asked for, who waits for it, and what is in line to be delivered.

    ``began`` is the run's time at its beginning. ``resumed`` tells that the run was executed before, up to the end of
    its journal and from there to its next wait.
    """

    __slots__ = (
        "_asked",
        "_counts",
        "_deadlines",
        "_due",
        "_fed",
        "_late",
        "_live_from",
        "_mailbox",
        "_recorded",
        "_resumed",
        "_starts",
        "_undelivered",
        "at",
        "blocked",
        "cancel_note",
        "cancelled",
        "children",
        "closing",
        "fresh",
        "front",
        "main",
        "notes",
        "patches",
        "turns",
        "withdrawn",
    )

    def __init__(self, began: datetime, *, resumed: bool) -> None:
        self.at = began
        """The run's time: the latest of what was delivered."""
        self.front = 0
        """How far the code has come: the seq of the outcome that was delivered last."""
        self.turns: int = 0
        """How much was delivered."""
        self.main: asyncio.Task[Any] | None = None
        """The task that a request to cancel cancels."""
        self.blocked: HoldfastError | None = None
        """Why the run cannot go on with this code."""
        self.cancelled = False
        """Whether a request to cancel was delivered."""
        self.cancel_note: str | None = None
        """What the first request to cancel carried."""
        self.fresh: list[Step | ChildStep | Timer] = []
        """What was asked for and the worker has not been told yet."""
        self.withdrawn: list[str] = []
        """What the worker was told to do and nobody waits for any more."""
        self.patches: Patches | None = None
        """Which way the run takes where its code has changed, once that was asked."""
        self.notes: Notes | None = None
        """The notebook, once the run has written anything down for others."""
        self.children: dict[str, ChildStep | Step] = {}
        """Those, and dispatched activities, whose outcome is not in the journal, and that the code has not given up."""
        self.closing: list[UUID] = []
        """Children that are to be cancelled, and the worker has not been told so yet."""
        self._counts: dict[str, int] = {}
        # Outcomes that have not been asked for, and new ways of which what comes first has not, by the key of that.
        self._recorded: dict[str, Entry] = {}
        self._starts: dict[str, Entry] = {}  # starts of children that have not been asked for, by key of the outcome
        # Not delivered yet; None: nobody waits for it any more.
        self._asked: dict[str, Step | ChildStep | Timer | None] = {}
        self._late: dict[str, Callable[[Entry], None]] = {}  # who wants to know of outcomes that nobody waits for
        self._undelivered: dict[int, Entry] = {}  # outcomes that have been asked for, signals, requests to cancel
        self._due: list[int] = []  # heap of seqs that can be delivered, or could when they were put there
        self._mailbox = Mailbox()
        self._deadlines: list[tuple[datetime, int, Timer]] = []  # heap; cancelled and delivered ones are left in it
        self._fed = 0
        self._resumed = resumed
        self._live_from = 0

    @property
    def replaying(self) -> bool:
        """Whether the code does now what it has done before.

        It does until the last entry of the journal that it was made with has been delivered, or the code waits for
        something that is not in it. A run that was resumed has also done what follows the last entry. Before an outcome
        that is recorded and has not been asked for, the code has been in any case.
        """
        return self.front < self._live_from or bool(self._recorded) or bool(self._starts)

    def open(self) -> Iterator[Step | ChildStep | Timer]:
        """What was asked for, is waited for, and has no outcome in the journal; in the order of asking."""
        for asked in self._asked.values():
            if asked is not None and not asked.known:
                yield asked

    @property
    def next_timer(self) -> datetime | None:
        """The earliest deadline of an open timer."""
        deadlines = self._deadlines
        while deadlines:
            deadline, _, timer = deadlines[0]
            if timer.key is not None and not timer.known and self._asked.get(timer.key) is timer:
                return deadline
            heappop(deadlines)
        return None

    @property
    def waits_for_signal(self) -> bool:
        """Whether a wait for a signal is open."""
        return self._mailbox.waiting > 0

    def waits_for(self, most: int) -> Iterator[str]:
        """What is waited for, at most so much of each kind: signals and updates by name, then outcomes by key."""
        yield from islice(self._mailbox.awaited, most)
        yield from islice((key for key, asked in self._asked.items() if asked is not None and not asked.known), most)

    @property
    def unasked(self) -> Entry | None:
        """The first outcome of the journal that the code has never asked for, or the first new way it has not gone."""
        return min((*self._recorded.values(), *self._starts.values()), key=by_seq, default=None)

    @property
    def unread(self) -> list[str]:
        """The keys of the letters that were journaled and have not been delivered."""
        left = sorted((one for one in self._undelivered.values() if one.kind in RECEIVED), key=by_seq)
        return [entry.key for entry in left if entry.key != cancel_key(0)]

    @property
    def unheard_cancel(self) -> bool:
        """Whether a request to cancel was journaled and has not been delivered."""
        return any(entry.kind is EntryKind.CANCEL for entry in self._undelivered.values())

    # ---- what the code asks for ----

    def ask(self, activity: Activity[..., Any], base: str, encoded: Encoded, future: asyncio.Future[Any]) -> Step:
        """The next call under the name ``base``; ``future`` gets the outcome."""
        key = self._next_key(base)
        text, digest = encoded
        step = Step(key=key, activity=activity, input=text, digest=digest, asked_at=self.at, future=future)
        self._asked[key] = step
        start = self._starts.pop(key, None) if self._starts else None
        entry = self._recorded.pop(key, None) if self._recorded else None
        if entry is not None and entry.kind is EntryKind.PATCH:
            if entry.digest != digest:
                self.blocked = other_step(step, entry)
                return step
            entry = None
        if start is not None:
            self._ask_dispatched(step, start, entry)
        elif entry is None:
            self.fresh.append(step)
        elif entry.kind is not EntryKind.ACTIVITY or (entry.digest is not None and entry.digest != digest):
            self.blocked = other_step(step, entry)
        else:
            step.known = True
            self._make_due(entry)
        return step

    def ask_child(
        self,
        workflow: Workflow[..., Any],
        encoded: Encoded,
        future: asyncio.Future[Any],
        begun: asyncio.Future[None] | None,
    ) -> ChildStep:
        """The next call of this workflow; ``future`` gets its outcome, and ``begun`` is done when it was started."""
        key = self._next_key(workflow.base)
        text, digest = encoded
        options = workflow.child_options
        step = ChildStep(
            key=key, workflow=workflow, input=text, digest=digest, options=options, future=future, begun=begun
        )
        self._asked[key] = step
        start = self._starts.pop(key, None) if self._starts else None
        outcome = self._recorded.pop(key, None) if self._recorded else None
        if outcome is not None and outcome.kind is EntryKind.PATCH and outcome.digest == digest:
            outcome = None
        first = start or outcome
        if first is None:
            self.fresh.append(step)
        elif (outcome is not None and outcome.kind is not EntryKind.CHILD) or first.digest != digest:
            self.blocked = other_step(step, first)
            return step
        if start is not None:
            self._begin(step, start)
        if outcome is not None:
            step.known = True
            self._make_due(outcome)
        else:
            self.children[key] = step
        return step

    def cancel_child(self, step: ChildStep | Step) -> None:
        """The code wants this child to end."""
        if step.run_id is not None and not step.known:
            self.closing.append(step.run_id)

    def abandon(self, step: Step | ChildStep) -> None:
        """Nobody waits for this call any more."""
        if step.future.done() and not step.future.cancelled():
            # It was delivered and cancelled in one turn. Looked at, so that its error is not reported as overlooked.
            step.future.exception()
        if self._asked.get(step.key) is step:
            self._asked[step.key] = None
            if isinstance(step, ChildStep) or step.run_id is not None:
                self.children.pop(step.key, None)
                self.cancel_child(step)
            elif step.told and not step.known:
                self.withdrawn.append(step.key)

    def hear_late(self, key: str, hear: Callable[[Entry], None]) -> None:
        """If the outcome of this call, which nobody waits for any more, is recorded all the same, ``hear`` is told."""
        self._late[key] = hear

    def ask_timer(self, timer: Timer) -> None:
        """The next timer of the run."""
        key = self._next_key("timer")
        timer.belong(self, key)
        self._asked[key] = timer
        entry = self._recorded.pop(key, None) if self._recorded else None
        if entry is None or entry.kind is EntryKind.PATCH:
            self.fresh.append(timer)
            heappush(self._deadlines, (timer.deadline, self._counts["timer"], timer))
        elif entry.kind is not EntryKind.TIMER or (entry.at < timer.deadline and entry.output != WOKEN):
            self.blocked = other_timer(timer, entry)
        else:
            timer.known = True
            self._make_due(entry)

    def withdraw_timer(self, timer: Timer) -> None:
        """Nobody waits for this timer any more."""
        key = timer.key
        if key is not None and self._asked.get(key) is timer:
            self._asked[key] = None
            if timer.told and not timer.known:
                self.withdrawn.append(key)

    def ask_patch(self, name: str, *, dropped: bool) -> bool:
        """Whether the run takes the new way of the patch ``name``; one that is ``dropped`` decides nothing any more."""
        patches = self._all_patches()
        return patches.asked(name) if dropped else patches.ask(name, len(self.fresh), replaying=self.replaying)

    def new_ways(self, patches: Patches) -> Sequence[NewWay]:
        """The new ways that the run has gone since this was asked last; before what is fresh is taken."""
        return patches.take(self.fresh)

    def notebook(self) -> Notes:
        """What the run writes down for others."""
        if self.notes is None:
            self.notes = Notes()
        return self.notes

    def open_wait(self, line: str, waiter: asyncio.Future[Entry]) -> None:
        """``waiter`` gets the next signal or update of this line."""
        self._put_in_line(self._mailbox.open(line, waiter))

    def close_wait(self, line: str, waiter: asyncio.Future[Entry]) -> None:
        """``waiter`` waits no more; what it was given and has not taken goes back to its place in line."""
        if self._mailbox.close(line, waiter):
            return
        if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
            entry = waiter.result()
            self._undelivered[entry.seq] = entry
            self._put_in_line(self._mailbox.post(entry))

    def clear(self) -> None:
        """Lets go of everything; the run is not executed here any more."""
        self.main = None
        self._mailbox = Mailbox()
        for held in (self._asked, self._undelivered, self._recorded, self._starts, self.children, self._late):
            held.clear()
        for line in (self._due, self._deadlines, self.fresh, self.withdrawn, self.closing):
            line.clear()

    # ---- inside ----

    def _all_patches(self) -> Patches:
        if self.patches is None:
            self.patches = Patches()
        return self.patches

    def _expect(self, key: str, way: Entry) -> None:
        """The journal says that a new way of the code begins with this."""
        base, _, number = key.rpartition("#")
        if self._counts.get(base, 0) < int(number):
            self._recorded[key] = way

    def _next_key(self, base: str) -> str:
        number = self._counts.get(base, 0) + 1
        self._counts[base] = number
        return f"{base}#{number}"

    def _ask_dispatched(self, step: Step, start: Entry, outcome: Entry | None) -> None:
        """The journal says that this activity runs elsewhere, as a run of its own."""
        if (outcome is not None and outcome.kind is not EntryKind.CHILD) or start.digest != step.digest:
            self.blocked = other_step(step, start)
            return
        step.known = outcome is not None
        self._begin(step, start)
        if outcome is not None:
            self._make_due(outcome)

    def _begin(self, step: ChildStep | Step, entry: Entry) -> None:
        step.run_id = child_id(entry)
        step.told = True
        if isinstance(step, Step):
            if not step.known:
                self.children[step.key] = step
        elif step.begun is not None:
            self._make_due(entry)

    def _make_due(self, entry: Entry) -> None:
        self._undelivered[entry.seq] = entry
        heappush(self._due, entry.seq)

    def _put_in_line(self, seq: int | None) -> None:
        if seq is not None:
            heappush(self._due, seq)


def by_seq(entry: Entry) -> int:
    """The place of an entry in its journal."""
    return entry.seq
