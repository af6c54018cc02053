"""How a workflow run waits when there is nothing to do for its code, and how it is let go of.

When nothing of it runs or is under way, and what it waits for is not near, it is parked: given back to the database,
and kept aside in memory for the case that it comes back here.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import TYPE_CHECKING

from holdfast.core.journal import WOKEN, EntryKind, cancel_key
from holdfast.core.states import Ending, Flag
from holdfast.store.work import FOREVER
from holdfast.store.writes import JournalWrite
from holdfast.worker import moves
from holdfast.worker.dispatch import dispatch
from holdfast.worker.ending import OUT_OF_TIME, as_stored, stuck
from holdfast.worker.held import Unit
from holdfast.worker.writing_run import WritingRun
from holdfast.workflow.instance import Ended
from holdfast.workflow.log_context import of_run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from holdfast.worker.calls import Call


log = logging.getLogger("holdfast.worker")

LINGER = timedelta(seconds=1)
"""What is nearer than this is waited for in memory."""


class RestingRun(WritingRun):
    """A held run that waits, is given back, is blocked, or ends."""

    __slots__ = ()

    @property
    def _held_back(self) -> bool:
        """Whether nothing new is to begin."""
        return self._desk.draining or self._parting or self._asked & Flag.PAUSED != 0

    def _part(self) -> None:
        """A suspect that has got on is none any more: nothing new of it begins here, and its own line has it back."""
        if not self._parting:
            self._parting = True
            self._calls.drop_waiting()
            self._desk.cleared()

    def _start_calls(self) -> None:
        # What lies beyond a patch begins when it is durable that the run went that way.
        if not self._over and not self._held_back and not self._instance.undecided:
            away = self._calls.start(self._desk.executor, self._desk.clock, self)
            if away:
                self._dispatch(away)

    def _dispatch(self, calls: Sequence[tuple[Call, timedelta | None]]) -> None:
        desk = self._desk
        for batch in dispatch(calls, self, desk, self._row):
            if batch.rows:
                self._write(Unit(self, journal=batch.rows, children=batch.runs))
            if self._over:
                # Its journal would become too long.
                return
            for call in batch.kept:
                self._calls.keep(call, desk.executor, desk.clock, self)

    def _rest(self) -> None:
        """Nothing to do for the code now: wait in memory for what is near, else park."""
        if self._over or self._under_way or self._stepping:
            return
        if self._calls.running:
            self._arm()
            return
        if self._held_back:
            self._hand_on()
            return
        wake = self._alarms.next(self._calls)
        if wake is None and not (self._instance.waits_for_letter or self._calls.handed_over):
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

    def _hand_on(self) -> None:
        """Nothing new is to begin here: at once, where others could go on with it now."""
        waits = self._alarms.next(self._calls) or self._instance.waits_for_letter or self._calls.handed_over
        self._park(at_once=not waits or self._calls.any_due(self._desk.clock.now()))

    def _park(self, *, at_once: bool) -> None:
        due = None if at_once else self._alarms.next(self._calls) or FOREVER
        outside = self._calls.handed_over
        move = moves.parked(self._instance, due, seen=self._letterbox.seen, blocked=self._blocked, outside=outside)
        self._stop_waiting()
        self._over = True
        self._kept = True
        self._write(Unit(self, move=move))

    def give_back(self, *, after: timedelta | None = None, untouched: bool = False) -> bool:
        """Its code was not entered, and is not to be here: somebody else may have it."""
        if self._over or self._begun:
            return False
        self._over = True
        self._write(Unit(self, move=moves.given_back(self._letterbox.seen, after=after, untouched=untouched)))
        return True

    def call_off(self) -> None:
        """It was cancelled before its time, and nobody has begun it: so there is nothing to clean up."""
        if not self._over and not self._begun:
            self._end(Ended(Ending.CANCELLED))

    def _end(self, end: Ended, rows: Sequence[JournalWrite] = ()) -> None:
        self._stop_waiting()
        self._over = True
        if end.next_input is not None:
            # What is being journaled at this moment goes along too.
            end = end._replace(unread=[*end.unread, *self._letterbox.unheard])
        stored, following = as_stored(end, self._desk, name=self.name, parent=self._parent)
        self._write(Unit(self, journal=rows, end=stored, next=following))

    def _block(self, reason: BaseException) -> None:
        if self._letterbox.cancels:
            # Its clean-up code cannot run either; who asked for its end shall not have to wait for another deploy.
            timed_out = self._letterbox.timed_out
            self._end(Ended(Ending.FAILED, failure=OUT_OF_TIME) if timed_out else Ended(Ending.CANCELLED))
            return
        log.error(
            "run %s of workflow %r is blocked: %s", self.run_id, self.name, reason, extra=of_run(self.run_id, self.name)
        )
        self._stop_waiting()
        self._over = True
        move = moves.blocked(self._letterbox.seen)
        self._write(Unit(self, move=move, blocked=f"{type(reason).__name__}: {reason}"))
