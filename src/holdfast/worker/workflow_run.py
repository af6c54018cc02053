"""A workflow run in the memory of this worker.

It is a chain of activations: the instance delivers what is durable, runs until it is quiet, and says what it asks for.
What it writes is in ``writing_run``, and how it waits in ``resting_run``; here is what sets it going.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from holdfast.core.journal import EntryKind, patch_key
from holdfast.core.states import Ending, Flag
from holdfast.worker.alarms import FOREVER_AWARE
from holdfast.worker.calls import ABOUT_ATTEMPTS
from holdfast.worker.children import received, start_all
from holdfast.worker.held import Unit
from holdfast.worker.notes import Notes
from holdfast.worker.resting_run import RestingRun
from holdfast.worker.slow import TOO_LONG, warn_if_slow
from holdfast.worker.writing_run import REQUESTS
from holdfast.workflow.instance import Activation, Ended, StartChild, StartTimer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from holdfast.store.work import Claimed, Letter, Seen
    from holdfast.worker.attempt import Attempt
    from holdfast.worker.bucket import Bucket
    from holdfast.worker.desk import Desk


class WorkflowRun(RestingRun):
    """Drives one instance while this worker holds the run."""

    __slots__ = ()

    def resume(self, desk: Desk, bucket: Bucket, claimed: Claimed, letters: Sequence[Letter]) -> None:
        """Claimed here again, with nothing written by anybody else meanwhile: go on from memory."""
        self._desk = desk
        self.bucket = bucket
        self._hold(claimed)
        self.receive(letters)

    def receive(self, letters: Sequence[Letter]) -> None:
        """What lay in its inbox when it was claimed."""
        self._letterbox.unread = letters

    def remember(self, said: Mapping[str, tuple[int, str]]) -> None:
        """What attempts that were under way when its worker died had said."""
        self._calls.remember(said)

    # -- what the worker says

    def begin(self) -> None:
        """Enters the code: what came meanwhile is journaled first."""
        if self._over:
            return
        self._mark_begun()
        letters = self._letterbox.take_unread()
        if letters:
            self.letters(letters)
        if self._alarms.deadline is not None and self._alarms.deadline <= self._desk.clock.now():
            self._rang()
        self._entered = not self._under_way
        self.step()

    def letters(self, letters: Sequence[Letter]) -> None:
        """Journals what came to the inbox, in its order; the instance sees it when that is durable."""
        if self._over:
            return
        # One that stands in line is entered by this, ahead of its turn: an activation costs no slot.
        if not self._may_enter:
            self._letterbox.unread = letters
            return
        self._mark_begun()
        new = self._letterbox.take(letters)
        if new:
            for letter, _ in new:
                if letter.kind in ABOUT_ATTEMPTS:
                    self._calls.expect(letter.name)
            rows = [received(letter, key, self._desk, self._row) for letter, key in new]
            self._write_rows(rows, seen=[letter.number for letter, _ in new])

    @property
    def _may_enter(self) -> bool:
        """Whether the middleware around it, if there is any, has let it in; it is told, if it does not know.

        A suspect waits until it may have the company of those that are executed.
        """
        if self.bucket.suspects and not self._begun:
            return False
        if self._desk.passes is None:
            return True
        self._desk.passes.open(self)
        return self.passing is None or self.passing.entered

    def enter_early(self) -> None:
        """Something has come for it before it was due: from now on it is, and that is durable before anything else."""
        if not self._over and not self._begun:
            self._begun = True
            self._write(Unit(self, begun=True))

    def _mark_begun(self) -> None:
        begun, self._begun = self._begun, True
        if self.crashed and not begun:
            # A worker died with this run: say durably that its code is entered, so that the next crash can be told.
            self._write(Unit(self, begun=True))

    def looked(self, seen: Seen | None) -> bool:
        """Drops a run that somebody else has ended or moved; True when something lies unread in its inbox."""
        if self._over:
            return False
        if seen is None or seen.hold != self.hold:
            self.lost()
            return False
        if seen.flags & REQUESTS != self._asked:
            self._obey(seen.flags & REQUESTS)
        if seen.flags & Flag.RESCHEDULED and not (self._begun or self._over):
            # Once it has begun, the request is obeyed when it parks.
            self.give_back()
            return False
        return seen.inbox_count > self._letterbox.seen

    def _obey(self, asked: int) -> None:
        """What is asked of it from outside, or is not asked any more, has changed."""
        self._asked = asked
        if asked & Flag.TERMINATE:
            self._end(Ended(Ending.CANCELLED))
        elif asked & Flag.PAUSED:
            self._alarms.disarm()
            if asked & Flag.AT_ONCE:
                self._calls.abandon()
            self.drain()
        elif self._entered and not self._under_way:
            if asked & Flag.WAKE:
                self._ring_early()
            self._start_calls()
            self._rest()

    def step(self) -> None:
        """One activation, and what follows from it. Must be called outside of any task."""
        self._step()
        if self._gate is not None:
            # Not before: what was committed last may be that a commit is not wanted any more.
            self._gate.advance()

    def _step(self) -> None:
        self._stepping = False
        if self._over or not self._entered or (self._held_back and self._calls.running):
            return
        if self._asked & Flag.PAUSED:
            # What was recorded is delivered when it is resumed.
            if not self._under_way:
                self._park(at_once=True)
            return
        began = time.perf_counter()
        activation = self._instance.activate()
        if time.perf_counter() - began > TOO_LONG:
            warn_if_slow(f"workflow {self.name!r}", began)
        self._follow(activation)

    def drain(self) -> None:
        """The worker stops, or the run is paused: what runs may finish, then the run is given back."""
        if self._over:
            return
        if self.give_back():
            return
        self._calls.drop_waiting()
        # What was recorded and is about to be delivered decides what it waits for: after that it is given back.
        if not self._under_way and not self._calls.running and not self._stepping:
            self._hand_on()

    def time_moved(self) -> None:
        """The clock was set: what waits in memory looks whether its time has come."""
        if self._alarms.armed:
            self._rang()

    def rests_until(self, now: datetime, hangs: Callable[[Attempt], bool]) -> datetime | None:
        """The moment that it waits for in memory; None while something of it is under way."""
        if self._over or self._under_way or self._stepping or not self._entered:
            return None
        if not all(hangs(attempt) for attempt in self._calls.attempts()):
            return None
        until = self._alarms.next(self._calls) or FOREVER_AWARE
        return until if until > now else None

    # -- what follows from an activation

    def _follow(self, activation: Activation) -> None:
        for key in activation.withdrawn:
            self._alarms.withdraw(key)
            self._calls.withdraw(key)
        patches = [
            self._row(EntryKind.PATCH, patch_key(way.patch), output=way.output, digest=way.digest)
            for way in activation.patches
        ]
        for note in activation.notes:
            if self._notes is None:
                self._notes = Notes()
            self._notes.add(note, self._instance.allocate(), self._desk)
        if activation.end is not None:
            self._end(activation.end, patches)
            return
        if activation.blocked is not None:
            self._block(activation.blocked)
            return
        if patches:
            # First of all: whatever else is written of this activation stands behind it in line.
            self._write_rows(patches)
        self._carry_out(activation)
        if self._asked & Flag.WAKE and not self._over:
            self._ring_early()
        self._start_calls()
        self._rest()
        if self._notes:
            self._notes.settle(self._write_notes)

    def _carry_out(self, activation: Activation) -> None:
        starts: list[StartChild] = []
        for command in activation.commands:
            if isinstance(command, StartTimer):
                self._alarms.set(command.key, command.deadline)
            elif isinstance(command, StartChild):
                starts.append(command)
            else:
                self._calls.ask(command)
        if starts or activation.closing:
            rows, children = start_all(starts, self._instance.info, self.headers, self._desk, self._row)
            self._write(Unit(self, journal=rows, children=children, cancels=activation.closing))
