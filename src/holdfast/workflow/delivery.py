"""The delivery rule: in which order a run sees what its journal holds.

When the loop is quiet, the undelivered outcome with the lowest seq whose key has been asked for is delivered. Which one
that is depends on the code and on the journal only, never on when an entry became known: entries become known in the
order of seq, so a run that is executed live and one that is replayed deliver the same outcomes in the same order.

- An activity, a child or a timer has been asked for when the code has called it. One whose waiter was cancelled is
  consumed without effect.
- A signal, or an update, has been asked for while a wait for its name is open: first in, first out, on both sides.
- A request to cancel has always been asked for.
- The start of a child, where the code waits for that.
- A failed attempt delivers nothing, nor does the way that the run takes at a patch, nor what it writes down for others,
  nor any other start of a child.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from heapq import heappop, heappush

from holdfast.core.errors import HoldfastError
from holdfast.core.journal import Entry, EntryKind, child_id, line_of, patch_name
from holdfast.workflow.agenda import RECEIVED, Agenda, by_seq
from holdfast.workflow.attempts import Attempts, Tries
from holdfast.workflow.child import ChildStep
from holdfast.workflow.handle import Timer
from holdfast.workflow.outcome import read
from holdfast.workflow.step import Step


class Delivery(Agenda):
    """What a run has asked for, what its journal holds, and what of it comes next."""

    __slots__ = ("_attempts",)

    def __init__(self, began: datetime, journal: Sequence[Entry], *, resumed: bool) -> None:
        super().__init__(began, resumed=resumed)
        self._attempts = Tries()
        for entry in sorted(journal, key=by_seq):
            self.feed(entry)
        self._live_from = self._fed + 1 if resumed else self._fed

    # ---- what the worker knows ----

    @property
    def highest(self) -> int:
        """The highest seq that is known."""
        return self._fed

    def feed(self, entry: Entry) -> None:
        """Takes note of one entry of the journal.

        Raises:
            ValueError: it does not come in the order of seq.
        """
        if entry.seq <= self._fed:
            raise ValueError(f"entry {entry.key!r} has seq {entry.seq}, and {self._fed} was fed before: seqs must rise")
        self._fed = entry.seq
        match entry.kind:
            case EntryKind.ACTIVITY | EntryKind.TIMER | EntryKind.CHILD:
                self._feed_outcome(entry)
            case EntryKind.STARTED:
                self._feed_start(entry)
            case EntryKind.ATTEMPT | EntryKind.HANDED | EntryKind.COMPLETED | EntryKind.FAILED:
                self._attempts.feed(entry)
            case EntryKind.PATCH:
                self._all_patches().record(patch_name(entry.key))
                if entry.output is not None:
                    self._expect(json.loads(entry.output), entry)
            case EntryKind.SIGNAL | EntryKind.UPDATE:
                self._undelivered[entry.seq] = entry
                self._put_in_line(self._mailbox.post(entry))
            case EntryKind.CANCEL:
                self._undelivered[entry.seq] = entry
                heappush(self._due, entry.seq)
            case EntryKind.STATE | EntryKind.REPLY:
                self.notebook().record(entry)

    def attempts(self, key: str) -> Attempts:
        """The failed attempts of the activity ``key`` so far."""
        return self._attempts.of(key)

    # ---- the rule ----

    def deliver_next(self) -> bool:
        """Delivers what comes next; False if nothing can be delivered now. To be called when the loop is quiet."""
        due = self._due
        while due:
            entry = self._undelivered.get(heappop(due))
            if entry is not None and self._deliver(entry):
                return True
        if not self._resumed:
            self._live_from = 0
        return False

    # ---- inside ----

    def _feed_outcome(self, entry: Entry) -> None:
        if entry.key not in self._asked:
            self._recorded[entry.key] = entry
            return
        asked = self._asked[entry.key]
        if asked is not None:
            asked.known = True
            if entry.kind is EntryKind.CHILD:
                self.children.pop(entry.key, None)
        self._make_due(entry)

    def _feed_start(self, entry: Entry) -> None:
        key = entry.key[:-1]
        if key not in self._asked:
            self._starts[key] = entry
            return
        step = self._asked[key]
        if isinstance(step, ChildStep | Step):
            self._begin(step, entry)
        else:
            # Given up while it was being started.
            self.closing.append(child_id(entry))

    def _deliver(self, entry: Entry) -> bool:
        match entry.kind:
            case EntryKind.ACTIVITY | EntryKind.CHILD:
                self._deliver_outcome(entry)
            case EntryKind.STARTED:
                self._arrive(entry)
                child = self._asked.get(entry.key[:-1])
                if isinstance(child, ChildStep) and child.begun is not None and not child.begun.done():
                    child.begun.set_result(None)
            case EntryKind.TIMER:
                self._arrive(entry)
                timer = self._asked.pop(entry.key)
                if isinstance(timer, Timer):
                    timer.fire()
            case EntryKind.SIGNAL | EntryKind.UPDATE:
                return self._deliver_signal(entry)
            case _:
                self._arrive(entry)
                if not self.cancelled:
                    self.cancelled = True
                    self.cancel_note = entry.output
                if self.main is not None:
                    self.main.cancel()
        return True

    def _arrive(self, entry: Entry) -> None:
        """It is delivered, or consumed: the run's time is not before it any more."""
        seq = entry.seq
        del self._undelivered[seq]
        self.turns += 1
        self.at = max(self.at, entry.at)
        # What came to the inbox may be taken long after. Any other outcome that comes after one with a higher seq shows
        # that a step was added before it: the code is where it was once before.
        if seq > self.front or entry.kind not in RECEIVED:
            self.front = seq

    def _deliver_outcome(self, entry: Entry) -> None:
        step = self._asked[entry.key]
        if not isinstance(step, Step | ChildStep) or step.future.done():
            self._arrive(entry)
            del self._asked[entry.key]
            if self._late and (hear := self._late.pop(entry.key, None)) is not None:
                hear(entry)
            return
        outcome = read(step, entry)
        if isinstance(outcome, HoldfastError):
            self.blocked = outcome
        else:
            self._arrive(entry)
            del self._asked[entry.key]
            step.take(*outcome)

    def _deliver_signal(self, entry: Entry) -> bool:
        waiter = self._mailbox.serve(entry)
        if waiter is None:
            return False  # it was put in line for a wait that was closed since
        self._arrive(entry)
        waiter.set_result(entry)
        self._put_in_line(self._mailbox.offer(line_of(entry.key)))
        return True
