"""What time it is in the database, as well as a worker can know it."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

_BEFORE_ALL = datetime(2000, 1, 1, tzinfo=UTC)


class DatabaseClock:
    """The database's time, from the reply that says most and what has passed here since. Never ahead of it.

    A reply says what time it was between the question and the answer: the quicker it was, the more exactly. It decides
    when something is tried, and nothing durable: what is written carries the database's own time.
    """

    __slots__ = ("_at", "_observed")

    def __init__(self) -> None:
        self._at = _BEFORE_ALL
        self._observed = time.monotonic()

    def observe(self, at: datetime, asked_at: float | None = None) -> None:
        """A reply said that it was ``at``; it was said before it arrived, so this clock is never ahead.

        ``asked_at`` is ``time.monotonic()`` of the question: if it was later by this clock then, the database's has
        been set back, or runs more slowly.
        """
        arrived = time.monotonic()
        late = (at - self._at).total_seconds() - (arrived - self._observed)
        if late >= 0 or (asked_at is not None and late < asked_at - arrived):
            self._at = at
            self._observed = arrived

    def now(self) -> datetime:
        """The database's time, late by at most the time of the quickest reply."""
        return self._at + timedelta(seconds=time.monotonic() - self._observed)

    def until(self, moment: datetime) -> float:
        """Seconds until then, never negative."""
        return max(0.0, (moment - self.now()).total_seconds())
