"""The world of one schedule: a clock that moves from event to event, and one source of chance for all that happens."""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from tests.simulation.trace import Trace

if TYPE_CHECKING:
    from tests.simulation.loop import SimulatedLoop

BEGINNING = datetime(2030, 1, 1, tzinfo=UTC)
"""What time it is when a schedule begins."""

MOST_STEPS = 400_000
"""So many callbacks are more than any schedule needs: something goes round and round."""


class Stuck(Exception):
    """A schedule does not come to its end."""


class World:
    """Calls what is due, one thing at a time, in an order that its seed decides."""

    def __init__(self, seed: int | str) -> None:
        self.chance = random.Random(str(seed))
        self.now = 0.0
        """Seconds since the beginning."""
        self.steps = 0
        self.trace = Trace()
        self.wrong: list[str] = []
        """What has happened that may not."""
        self.befallen = Counter[str]()
        """How often what has befallen somebody."""
        self.loops: list[SimulatedLoop] = []
        self.current: SimulatedLoop | None = None
        """The loop whose callback is being called."""
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = 0

    @property
    def moment(self) -> datetime:
        """What time it is."""
        return BEGINNING + timedelta(seconds=self.now)

    @property
    def micros(self) -> int:
        """The same in microseconds since 1970: what the database's clock is set to."""
        return int(BEGINNING.timestamp()) * 1_000_000 + round(self.now * 1_000_000)

    def number(self) -> int:
        """Another number each time."""
        self._numbers += 1
        return self._numbers

    def after(self, seconds: float, call: Callable[[], None]) -> None:
        """Has it called in so many seconds."""
        self.at(self.now + max(seconds, 0.0), call)

    def at(self, when: float, call: Callable[[], None]) -> None:
        """Has it called then."""
        heapq.heappush(self._events, (when, self.number(), call))

    def note(self, who: str, what: str) -> None:
        """Adds a line to the trace."""
        self.trace.add(f"{self.now:11.6f} {who:<12} {what}")

    def befall(self, who: str, what: str, detail: str = "") -> None:
        """Something befalls somebody."""
        self.note(who, f"{what}{detail}")
        self.befallen[f"a process {what}"] += 1

    def blame(self, sentence: str) -> None:
        """Something has happened that may not."""
        self.note("WRONG", sentence)
        self.wrong.append(sentence)

    def run(self, until: Callable[[], bool], *, limit: float) -> bool:
        """Lets things happen until that is true, or it is ``limit``; says whether it is true."""
        while not until():
            if self.wrong:
                return False
            if not self._step(limit):
                return until()
        return True

    def _step(self, limit: float) -> bool:
        self.steps += 1
        if self.steps > MOST_STEPS:
            raise Stuck(f"more than {MOST_STEPS} steps, and it is only {self.now:.3f} s")
        ready = [loop for loop in self.loops if loop.ready and loop.awake_at <= self.now]
        if ready:
            loop = ready[0] if len(ready) == 1 else self.chance.choice(ready)
            self.current = loop
            try:
                loop.call_next()
            finally:
                self.current = None
            return True
        if not self._events or self._events[0][0] > limit:
            self.now = max(self.now, limit)
            return False
        when, _, call = heapq.heappop(self._events)
        self.now = max(self.now, when)
        call()
        return True
