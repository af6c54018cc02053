"""A workflow run in the memory of this worker.

It is a chain of activations: the instance delivers what is durable, runs until it is quiet, and says what it asks for.
Outcomes go to the group commit first and to the instance after it, in the order of their seqs. When nothing of it runs
or is under way, and what it waits for is not near, it is parked: given back to the database, and kept aside in memory
for the case that it comes back here.
"""

from __future__ import annotations

import logging
import time
from datetime import timedelta
from typing import TYPE_CHECKING

from holdfast.core.journal import WOKEN, EntryKind, cancel_key, patch_key
from holdfast.core.states import Ending, Flag
from holdfast.store.work import FOREVER, JournalWrite
from holdfast.worker import moves
from holdfast.worker.alarms import FOREVER_AWARE, Alarms
from holdfast.worker.calls import Call, Calls
from holdfast.worker.children import received, start_all
from holdfast.worker.ending import OUT_OF_TIME, as_stored, refused, stuck
from holdfast.worker.gate import Gate, Turn
from holdfast.worker.held import Unit
from holdfast.worker.letterbox import Letterbox
from holdfast.worker.notes import Notes
from holdfast.worker.opened import as_written
from holdfast.worker.slow import TOO_LONG, warn_if_slow
from holdfast.worker.verdict import Conclusion, judge, row_of
from holdfast.workflow.instance import Activation, Ended, Instance, StartChild, StartTimer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    from holdfast.core.journal import Entry
    from holdfast.store.work import Claimed, Letter, Seen
    from holdfast.worker.attempt import Attempt, Outcome
    from holdfast.worker.bucket import Bucket
    from holdfast.worker.desk import Desk

log = logging.getLogger("holdfast.worker")

LINGER = timedelta(seconds=1)
"""What is nearer than this is waited for in memory."""

REQUESTS = Flag.PAUSED | Flag.TERMINATE | Flag.WAKE | Flag.AT_ONCE
"""What may be asked of a run while it is held."""


class WorkflowRun:
    """Drives one instance while this worker holds the run."""

    __slots__ = (
        "_alarms",
        "_asked",
        "_begun",
        "_blocked",
        "_calls",
        "_desk",
        "_entered",
        "_gate",
        "_instance",
        "_kept",
        "_letterbox",
        "_notes",
        "_over",
        "_parent",
        "_stepping",
        "_under_way",
        "bucket",
        "crashed",
        "hold",
        "looked_at",
        "name",
        "run_id",
    )

    def __init__(
        self, desk: Desk, bucket: Bucket, instance: Instance, claimed: Claimed, journal: Sequence[Entry]
    ) -> None:
        self._desk = desk
        self._instance = instance
        self.bucket = bucket
        self.run_id: UUID = claimed.run_id
        self.name = claimed.name
        self._parent = claimed.parent
        self._letterbox = Letterbox(journal)
        self._calls = Calls(claimed, instance.identity, done=self._attempt_done, beat=self._attempt_beat)
        self._alarms = Alarms(None if cancel_key(0) in self._letterbox.cancels else claimed.deadline)
        self._notes: Notes | None = None
        self._resume(claimed)

    def resume(self, desk: Desk, bucket: Bucket, claimed: Claimed, letters: Sequence[Letter]) -> None:
        """Claimed here again, with nothing written by anybody else meanwhile: go on from memory."""
        self._desk = desk
        self.bucket = bucket
        self._resume(claimed)
        self.receive(letters)

    def receive(self, letters: Sequence[Letter]) -> None:
        """What lay in its inbox when it was claimed."""
        self._letterbox.unread = letters

    def remember(self, said: Mapping[str, tuple[int, str]]) -> None:
        """What attempts that were under way when its worker died had said."""
        self._calls.remember(said)

    def _resume(self, claimed: Claimed) -> None:
        self.hold = claimed.hold
        self.looked_at = 0.0
        self.crashed = claimed.crashes
        self._blocked = claimed.flags & Flag.BLOCKED
        self._asked = claimed.flags & REQUESTS
        self._under_way = 0
        self._begun = False
        self._entered = False
        self._over = False
        self._kept = False
        self._stepping = False
        self._gate: Gate | None = None

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
        self._mark_begun()
        new = self._letterbox.take(letters)
        if new:
            rows = [received(letter, key, self._desk, self._row) for letter, key in new]
            self._write_rows(rows, seen=[letter.number for letter, _ in new])

    def _mark_begun(self) -> None:
        if self._begun:
            return
        self._begun = True
        if self.crashed:
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

    @property
    def _held_back(self) -> bool:
        """Whether nothing new is to begin."""
        return self._desk.draining or self._asked & Flag.PAUSED != 0

    def drain(self) -> None:
        """The worker stops, or the run is paused: what runs may finish, then the run is given back."""
        if self._over:
            return
        if not self._begun:
            self._give_back()
            return
        self._calls.drop_waiting()
        if not self._under_way and not self._calls.running:
            self._park(at_once=self._calls.any_due(self._desk.clock.now()))

    def close(self) -> None:
        """The worker is fenced or gone: nothing is written any more."""
        self._stop_waiting()
        self._over = True
        self._leave()

    def _leave(self) -> None:
        """Lets go of everything at once: nothing of it is left to the collector, which looks seldom."""
        if self._gate is not None:
            self._gate.close()
        self._instance.close()
        self._calls.close()

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
        patches = [self._row(EntryKind.PATCH, patch_key(name)) for name in activation.patches]
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
        if self._asked & Flag.WAKE:
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
            rows, children = start_all(starts, self._instance.info, self._desk, self._row)
            self._write(Unit(self, journal=rows, children=children, cancels=activation.closing))

    def _end(self, end: Ended, rows: Sequence[JournalWrite] = ()) -> None:
        self._stop_waiting()
        self._over = True
        stored = as_stored(end, self._desk, name=self.name, parent=self._parent)
        self._write(Unit(self, journal=rows, end=stored))

    def _block(self, reason: BaseException) -> None:
        if self._letterbox.cancels:
            # Its clean-up code cannot run either; who asked for its end shall not have to wait for another deploy.
            timed_out = self._letterbox.timed_out
            self._end(Ended(Ending.FAILED, failure=OUT_OF_TIME) if timed_out else Ended(Ending.CANCELLED))
            return
        log.error("run %s of workflow %r is blocked: %s", self.run_id, self.name, reason)
        self._stop_waiting()
        self._over = True
        move = moves.blocked(self._letterbox.seen)
        self._write(Unit(self, move=move, blocked=f"{type(reason).__name__}: {reason}"))

    def _start_calls(self) -> None:
        # What lies beyond a patch begins when it is durable that the run went that way.
        if not self._held_back and not self._instance.undecided:
            self._calls.start(self._desk.executor, self._desk.clock, self)

    def _attempt_done(self, call: Call, outcome: Outcome) -> None:
        if self._over:
            return
        if outcome.recorded is not None:
            return
        verdict = judge(call, outcome, self._desk.seal, self._desk.clock)
        row = row_of(call, verdict, outcome, self._desk, seq=self._instance.allocate())
        if isinstance(verdict, Conclusion):
            self._calls.conclude(call)
        else:
            call.rest()
        self._write(Unit(self, journal=[row], beats=call.forgotten()))

    def _attempt_beat(self, call: Call, details: str) -> None:
        if not self._over:
            first = not call.beaten
            self._write(Unit(self, beats=call.beat(details, self._desk.seal), beaten=first))

    # -- waiting

    def _rest(self) -> None:
        """Nothing to do for the code now: wait in memory for what is near, else park."""
        if self._over or self._under_way or self._stepping:
            return
        if self._calls.running:
            self._arm()
            return
        if self._held_back:
            self._park(at_once=self._calls.any_due(self._desk.clock.now()))
            return
        wake = self._alarms.next(self._calls)
        if wake is None and not self._instance.waits_for_letter:
            self._block(stuck())
        elif wake is not None and wake - self._desk.clock.now() <= LINGER:
            self._arm()
        else:
            self._park(at_once=False)

    def _arm(self) -> None:
        self._alarms.arm(self._alarms.next(self._calls), self._desk.clock, self._rang)

    def _rang(self) -> None:
        self._alarms.disarm()
        if self._over:
            return
        now = self._desk.clock.now()
        rows: list[JournalWrite] = []
        if self._alarms.expired(now):
            self._letterbox.cancels.add(cancel_key(0))
            rows.append(self._row(EntryKind.CANCEL, cancel_key(0), output='{"reason":"timeout"}'))
        rows.extend(self._row(EntryKind.TIMER, key, at=deadline) for key, deadline in self._alarms.fired(now))
        if rows:
            self._write_rows(rows)
        self._start_calls()
        if not rows:
            self._rest()

    def _ring_early(self) -> None:
        """Somebody wants its sleep to end: the earliest timer rings now, and its row says that it was woken."""
        self._asked &= ~Flag.WAKE
        key = self._alarms.take_earliest(self._calls)
        rows = [] if key is None else [self._row(EntryKind.TIMER, key, output=WOKEN)]
        # In one commit with the end of the request: a crash in between must not ring another one.
        self._write(Unit(self, journal=rows, woken=True))

    def _park(self, *, at_once: bool) -> None:
        due = None if at_once else self._alarms.next(self._calls) or FOREVER
        move = moves.parked(self._instance, due, seen=self._letterbox.seen, blocked=self._blocked)
        self._stop_waiting()
        self._over = True
        self._kept = True
        self._write(Unit(self, move=move))

    def _give_back(self) -> None:
        self._over = True
        self._write(Unit(self, move=moves.given_back(self._letterbox.seen)))

    def _stop_waiting(self) -> None:
        self._alarms.disarm()
        self._calls.abandon()
        if self._notes is not None:
            self._notes.disarm()

    # -- writing

    def _row(
        self,
        kind: EntryKind,
        key: str,
        *,
        digest: bytes | None = None,
        output: str | None = None,
        error: str | None = None,
        at: datetime | None = None,
    ) -> JournalWrite:
        return JournalWrite(self._instance.allocate(), kind, key, digest, output, error, 0, None, at, None)

    def _write_rows(self, rows: Sequence[JournalWrite], *, seen: Sequence[int] = ()) -> None:
        self._write(Unit(self, journal=rows, seen=seen))

    def _write(self, unit: Unit) -> None:
        if self._notes:
            unit.journal = self._notes.before(unit.journal)
        self._under_way += 1
        if self._gate is None or not self._gate.hold(unit):
            self._desk.write(unit)

    # -- what it commits by itself

    def ask_turn(self, call: Call, attempt: Attempt, outcome: Outcome) -> Turn:
        """A transactional activity wants to commit: it has a turn among what this run writes."""
        if self._gate is None:
            self._gate = Gate(self)
        # Notes that nothing has taken along have lower seqs.
        self._write_notes()
        row = row_of(call, Conclusion(outcome.output, None), outcome, self._desk, seq=self._instance.allocate())
        return self._gate.ask(self, row)

    @property
    def under_way(self) -> int | None:
        return None if self._stepping else self._under_way

    def pass_on(self, unit: Unit) -> None:
        self._desk.write(unit)

    def _write_notes(self) -> None:
        if self._notes and not self._over:
            self._write_rows(())

    def recorded(self, row: JournalWrite, at: datetime) -> None:
        """The outcome of a transactional activity is durable."""
        call = self._calls.get(row.key)
        if self._over:
            # It is being given back, and its memory has not seen this.
            self._kept = False
            return
        if call is not None:
            self._calls.conclude(call)
            if call.beaten:
                self._write(Unit(self, beats=call.forgotten()))
        self._instance.feed(as_written(row, at, self._desk.seal))
        self._step_soon()

    def committed(self, unit: Unit, at: datetime) -> None:
        """Feeds the instance what is now durable; the step follows in a callback of its own."""
        self._under_way -= 1
        if unit.end is not None:
            self._leave()
            self._desk.let_go(self)
            return
        if unit.move is not None:
            self._desk.let_go(self, cached=self._kept)
            if not self._kept:
                self._leave()
            return
        if self._over:
            return
        for row in unit.journal:
            entry = as_written(row, at, self._desk.seal)
            if entry.kind is EntryKind.ATTEMPT:
                call = self._calls.get(row.key.rpartition("@")[0])
                if call is not None:
                    call.not_before = entry.not_before
            self._instance.feed(entry)
        self._entered = self._entered or not self._under_way
        self._step_soon()

    def _step_soon(self) -> None:
        if not self._stepping:
            self._stepping = True
            self._desk.step_soon(self)

    def lost(self) -> None:
        """Not this worker's any more: nothing of it may be written."""
        self.close()
        self._desk.let_go(self)

    def rejected(self, unit: Unit, error: BaseException) -> None:
        """The database refuses what this run wants written, for good: so it fails, with that reason."""
        self._under_way -= 1
        if unit.is_beat:
            log.warning("run %s: heartbeats could not be stored: %s", self.run_id, error)
            return
        self._stop_waiting()
        self._over = True
        self._write(Unit(self, end=refused(unit, error, self._desk, name=self.name, parent=self._parent)))
