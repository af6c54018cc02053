"""The claims of runs that have limits: their names, and how far down each line this worker has looked for them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self

from holdfast.store.work import Wanted
from holdfast.worker.bucket import SLACK
from holdfast.worker.repertoire import Repertoire
from holdfast.worker.sweeps import Sweeps

if TYPE_CHECKING:
    from holdfast.core.definition import Definition
    from holdfast.core.limit import Ticket
    from holdfast.store.limits import LimitedClaim
    from holdfast.worker.bucket import Bucket

_TIDY_EVERY = 60.0
_BEFORE_ALL = datetime(2000, 1, 1, tzinfo=UTC)


class Limited:
    """What the claim loop knows beside its buckets; there is none in a worker whose definitions have no limits."""

    def __init__(self, repertoire: Repertoire, tickets: Mapping[str, Sequence[Ticket]]) -> None:
        self.repertoire = repertoire
        self.tickets = tickets
        """By the names of tasks."""
        self.sweeps = Sweeps()
        self.more: set[int] = set()
        """Buckets for which there was more than room."""
        self._watermarks: dict[int, datetime] = {}
        self._tidied_at = time.monotonic()

    @classmethod
    def of(
        cls, repertoire: Repertoire, definitions: Mapping[str, Definition[..., Any]]
    ) -> tuple[Self | None, Repertoire]:
        """Of a worker with this repertoire; and what is left of that: the names without limits."""
        tickets = {
            name: found.tickets
            for name in repertoire.names
            if (found := definitions.get(repertoire.task_name(name, None, begun=False))) is not None and found.tickets
        }
        if not tickets:
            return None, repertoire
        return cls(repertoire.only(tickets), tickets), repertoire.only(set(repertoire.names).difference(tickets))

    def wanted(self, bucket: Bucket, room: int | None = None) -> Wanted:
        """What to ask for in the next claim."""
        return Wanted(
            bucket.id,
            bucket.lane,
            int(bucket.priority),
            bucket.room() if room is None else room,
            self._watermarks.get(bucket.id, _BEFORE_ALL),
        )

    def looked(self, bucket: Bucket, claim: LimitedClaim) -> None:
        """A claim of all these names came back."""
        full, last_due = bucket.id in claim.full, claim.last_due.get(bucket.id)
        if full or bucket.id in claim.open:
            self.more.add(bucket.id)
        else:
            self.more.discard(bucket.id)
        if full and last_due is not None:
            self._watermarks[bucket.id] = min(last_due, claim.at)
        elif bucket.id in claim.looked and not full:
            self._watermarks[bucket.id] = claim.at - SLACK

    def is_untidy(self) -> bool:
        """Whether it is time to forget what nobody uses any more; true once."""
        now = time.monotonic()
        if now - self._tidied_at < _TIDY_EVERY:
            return False
        self._tidied_at = now
        return True
