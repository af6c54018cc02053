"""What a worker knows of its definitions that have limits, and how far down each line it has looked for their runs."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self

from holdfast.core.limit import LimitKind
from holdfast.core.states import RunKind
from holdfast.store.work import Wanted
from holdfast.worker.bucket import SLACK
from holdfast.worker.repertoire import Repertoire
from holdfast.worker.sweeps import Sweeps

if TYPE_CHECKING:
    from holdfast.core.definition import Definition
    from holdfast.core.limit import Ticket
    from holdfast.worker.bucket import Bucket

_TIDY_EVERY = 60.0
_BEFORE_ALL = datetime(2000, 1, 1, tzinfo=UTC)


class Reach:
    """How far down the line of each bucket was looked for the runs of some names."""

    def __init__(self) -> None:
        self.more: set[int] = set()
        """Buckets for which there was more than room."""
        self.rests_until = 0.0
        """Until then, on the monotonic clock, it is not looked again unless something comes: there was nothing."""
        self._names: frozenset[str] = frozenset()
        self._watermarks: dict[int, datetime] = {}

    def turn_to(self, names: Collection[str]) -> bool:
        """These names are looked for from now on; says whether others were until now, so that it begins anew."""
        if self._names == frozenset(names):
            return False
        self._names = frozenset(names)
        self._watermarks.clear()
        return True

    @property
    def rests(self) -> bool:
        """Whether it was looked just now, and there was nothing."""
        return not self.more and time.monotonic() < self.rests_until

    def wanted(self, bucket: Bucket, room: int) -> Wanted:
        """What to ask for in the next claim."""
        lower = self._watermarks.get(bucket.id, _BEFORE_ALL)
        return Wanted(bucket.id, bucket.lane, int(bucket.priority), room, lower)

    def looked(
        self, bucket: Bucket, *, at: datetime, last_due: datetime | None, full: bool | None, waiting: bool = False
    ) -> None:
        """All these names were looked for: there was as much as was asked for, or not; None: what is newly due was not.

        ``waiting``: others wait for whom there are permits.
        """
        if full or waiting:
            self.more.add(bucket.id)
        else:
            self.more.discard(bucket.id)
        if full and last_due is not None:
            self._watermarks[bucket.id] = min(last_due, at)
        elif full is False:
            self._watermarks[bucket.id] = at - SLACK


class Limited:
    """What the claim loop knows beside its buckets; there is none in a worker whose definitions have no limits."""

    def __init__(
        self,
        repertoire: Repertoire,
        tickets: Mapping[str, Sequence[Ticket]],
        *,
        leasable: Collection[str],
        workflows: Collection[str],
    ) -> None:
        self.repertoire = repertoire
        self.tickets = tickets
        """By the names of tasks."""
        self.workflows = frozenset(workflows)
        """Those that keep their permits until they end."""
        self.leasable = {name: tickets[name] for name in leasable}
        """Those of which permits can be leased in advance: whoever takes one needs to know nothing of its input."""
        self.sweeps = Sweeps()
        self.single = Reach()
        """Of what is claimed with a permit for each run."""
        self.leased = Reach()
        self.sorted = Reach()
        """Of what is put in line by its keys, more of it than there is room for."""
        self.reaches = (self.single, self.leased, self.sorted)
        """One for each way of claiming."""
        self.by_key = frozenset(
            name
            for name, those in tickets.items()
            if any(one.kind in (LimitKind.FAIR, LimitKind.DEBOUNCE) for one in those)
        )
        self._tidied_at = time.monotonic()

    @classmethod
    def of(
        cls, repertoire: Repertoire, definitions: Mapping[str, Definition[..., Any]]
    ) -> tuple[Self | None, Repertoire]:
        """Of a worker with this repertoire; and what is left of that: the names without limits."""
        found = {
            name: definition
            for name in repertoire.names
            if (definition := definitions.get(repertoire.task_name(name, None, begun=False))) is not None
            and definition.tickets
        }
        if not found:
            return None, repertoire
        workflows = [name for name, definition in found.items() if definition.kind is RunKind.WORKFLOW]
        leasable = [
            name
            for name, definition in found.items()
            if definition.kind is not RunKind.WORKFLOW
            and all(ticket.path is None and ticket.interval is None for ticket in definition.tickets)
        ]
        tickets = {name: definition.tickets for name, definition in found.items()}
        limited = cls(repertoire.only(tickets), tickets, leasable=leasable, workflows=workflows)
        return limited, repertoire.only(set(repertoire.names).difference(tickets))

    def is_untidy(self) -> bool:
        """Whether it is time to forget what nobody uses any more; true once."""
        now = time.monotonic()
        if now - self._tidied_at < _TIDY_EVERY:
            return False
        self._tidied_at = now
        return True
