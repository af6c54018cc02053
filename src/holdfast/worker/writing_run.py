"""What a workflow run in memory writes, and what follows when that is durable.

Outcomes go to the group commit first and to the instance after it, in the order of their seqs. A transactional activity
commits beside it, and has a turn of its own in that order.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from holdfast.core.journal import EntryKind, cancel_key
from holdfast.core.states import Flag
from holdfast.store.writes import JournalWrite
from holdfast.worker.alarms import Alarms
from holdfast.worker.calls import ABOUT_ATTEMPTS, Call, Calls
from holdfast.worker.ending import refused
from holdfast.worker.gate import Gate, Turn
from holdfast.worker.held import Unit
from holdfast.worker.journal_size import JournalSize
from holdfast.worker.letterbox import Letterbox
from holdfast.worker.notes import Notes
from holdfast.worker.opened import as_written
from holdfast.worker.verdict import Conclusion, Handed, judge, row_of
from holdfast.workflow.instance import Ended, Instance
from holdfast.workflow.log_context import of_run

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime, timedelta
    from uuid import UUID

    from holdfast.core.headers import Headers
    from holdfast.core.journal import Entry
    from holdfast.store.work import Claimed, Letter, Seen
    from holdfast.worker.attempt import Attempt, Outcome
    from holdfast.worker.bucket import Bucket
    from holdfast.worker.desk import Desk
    from holdfast.worker.passes import Passing
    from holdfast.workflow.info import RunInfo

log = logging.getLogger("holdfast.worker")


REQUESTS = Flag.PAUSED | Flag.TERMINATE | Flag.WAKE | Flag.AT_ONCE
"""What may be asked of a run while it is held."""


class WritingRun(ABC):
    """A held run with its instance, its calls, and what of it is under way to the database."""

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
        "_parting",
        "_size",
        "_stepping",
        "_under_way",
        "bucket",
        "crashed",
        "hold",
        "looked_at",
        "name",
        "passing",
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
        self._size = JournalSize(claimed, journal, desk.journal_limits)
        self._calls = Calls(claimed, instance.identity, done=self._attempt_done, beat=self._attempt_beat)
        self._alarms = Alarms(None if cancel_key(0) in self._letterbox.cancels else claimed.deadline)
        self._notes: Notes | None = None
        self._hold(claimed)

    def _hold(self, claimed: Claimed) -> None:
        self.hold = claimed.hold
        self.looked_at = 0.0
        self.crashed = claimed.crashes
        self._blocked = claimed.flags & Flag.BLOCKED
        self._asked: int = claimed.flags & REQUESTS
        self._under_way = 0
        self._begun = False
        self._entered = False
        self._over = False
        self._kept = False
        self._parting = False
        self._stepping = False
        self._gate: Gate | None = None
        self._instance.executed_by(self._desk.herald.name)
        self.passing: Passing | None = None
        """Set once its turn has come, where there is middleware around it."""

    @property
    def info(self) -> RunInfo:
        """The run."""
        return self._instance.info

    @property
    def headers(self) -> Headers:
        """What the activities and children get that it starts now."""
        return self._instance.info.headers if self.passing is None else self.passing.headers

    # -- what others see to, on top of this

    @abstractmethod
    def begin(self) -> None: ...

    @abstractmethod
    def letters(self, letters: Sequence[Letter]) -> None: ...

    @abstractmethod
    def receive(self, letters: Sequence[Letter]) -> None: ...

    @abstractmethod
    def give_back(self, *, after: timedelta | None = None, untouched: bool = False) -> bool: ...

    @abstractmethod
    def looked(self, seen: Seen | None) -> bool: ...

    @abstractmethod
    def drain(self) -> None: ...

    @abstractmethod
    def _end(self, end: Ended) -> None: ...

    @abstractmethod
    def _part(self) -> None: ...

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
        return JournalWrite(self._instance.allocate(), kind, key, digest, output, error, at=at)

    def _write_rows(self, rows: Sequence[JournalWrite], *, seen: Sequence[int] = ()) -> None:
        self._write(Unit(self, journal=rows, seen=seen))

    def _write(self, unit: Unit) -> None:
        if self._notes:
            self._notes.join(unit)
        if unit.journal and not self._over and (full := self._size.add(unit.journal)):
            self._end(full)
            return
        self._under_way += 1
        if self._gate is None or not self._gate.hold(unit):
            self._desk.write(unit)

    # -- what its calls bring

    def _attempt_done(self, call: Call, outcome: Outcome) -> None:
        if self._over or outcome.recorded is not None:
            return
        verdict = judge(call, outcome, self._desk.seal, self._desk.clock)
        row = row_of(call, verdict, outcome, self._desk, seq=self._instance.allocate())
        quiet = None if isinstance(verdict, Handed) else self._calls.note_end(call)
        if isinstance(verdict, Conclusion):
            self._calls.conclude(call)
        elif isinstance(verdict, Handed):
            call.hand_over()
        else:
            if self._desk.herald.retried:
                key, name = call.command.key, call.command.activity.name
                self._desk.herald.tell_retried(self.run_id, key, name, call.failed + 1, verdict.delay)
            call.rest()
        self._write(Unit(self, journal=[row], beats=call.forgotten(), quiet=quiet))

    def _attempt_beat(self, call: Call, details: str | None, progress: str | None) -> None:
        if not self._over:
            first = not call.beaten
            self._write(Unit(self, beats=call.beat(details, progress, self._desk.seal), beaten=first))

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
        if self.bucket.suspects:
            self._part()
        self._step_soon()

    # -- what became of it

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
        if unit.quiet is not None:
            self._calls.end_noted(unit.quiet)
        for row in unit.journal:
            entry = as_written(row, at, self._desk.seal)
            if entry.kind in ABOUT_ATTEMPTS:
                self._calls.recorded(entry)
            self._instance.feed(entry)
        if unit.seen:
            self._letterbox.journaled(len(unit.seen))
        if unit.journal and self._entered and self.bucket.suspects:
            self._part()
        self._entered = self._entered or not self._under_way
        self._step_soon()

    def _step_soon(self) -> None:
        if not self._stepping:
            self._stepping = True
            self._desk.step_soon(self)

    def overtaken(self, unit: Unit) -> Unit | None:
        """What has come from outside counts, and is read; what was to be written beside that end still is."""
        name, unit.quiet = unit.quiet or "", None
        unit.journal = [row for row in unit.journal if row.key not in (name, name.rpartition("@")[0])]
        if not self._over:
            self._calls.undo_end(name)
            self._desk.look()
        return unit

    def lost(self) -> None:
        """Not this worker's any more: nothing of it may be written."""
        self.close()
        self._desk.let_go(self)

    def rejected(self, unit: Unit, error: BaseException) -> None:
        """The database refuses what this run wants written, for good: so it fails, with that reason."""
        self._under_way -= 1
        if unit.is_beat:
            log.warning(
                "run %s: heartbeats could not be stored: %s",
                self.run_id,
                error,
                extra=of_run(self.run_id, self.name),
            )
            return
        self._stop_waiting()
        self._over = True
        self._write(Unit(self, end=refused(unit, error, self._desk, name=self.name, parent=self._parent)))

    # -- the end

    def _stop_waiting(self) -> None:
        self._alarms.disarm()
        self._calls.abandon()
        if self._notes is not None:
            self._notes.disarm()

    def close(self) -> None:
        """The worker is fenced or gone: nothing is written any more."""
        self._stop_waiting()
        self._over = True
        self._leave()
        if self.passing is not None:
            self.passing.lose()

    def _leave(self) -> None:
        """Lets go of everything at once: nothing of it is left to the collector, which looks seldom."""
        if self._gate is not None:
            self._gate.close()
        self._instance.close()
        self._calls.close()
