"""What debounces and throttles have let through of what was started in a simulation."""

from __future__ import annotations

import json
from collections import defaultdict
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

from tests.simulation.repertoire import DEBOUNCE, THROTTLE
from tests.simulation.stage import stage

if TYPE_CHECKING:
    from tests.simulation.backends import Backends
    from tests.simulation.world import World

_STARTED = """
select r.id, r.name, r.input::text, r.created_at as at, e.status = 1 as passed, e.error #>> '{reason}' as reason
  from holdfast.run r
  join holdfast.result e on e.run_id = r.id
 where r.name in ('throttled', 'debounced')
 order by r.created_at, r.id
"""


class Start(NamedTuple):
    """One that has ended; also one whose caller has not heard of it."""

    id: UUID
    at: datetime
    passed: bool


class Sieve:
    """Knows all starts, and says what has passed wrongly.

    A start that is committed late is due before others that were looked at, so what passes is not always what would
    have passed in the order of their times. What holds in any order is checked always, and which it was to be where
    nothing was late.
    """

    def __init__(self, world: World, backends: Backends) -> None:
        self._world = world
        self._backends = backends

    def check(self, *, in_order: bool) -> None:
        """When all has ended."""
        throttled: list[Start] = []
        debounced: dict[object, list[Start]] = defaultdict(list)
        called = {call.run_id for call in stage.ledger}
        for row in self._backends.look(_STARTED):
            start = Start(row["id"], row["at"], row["passed"])
            if not start.passed and start.id in called:
                self._world.blame(f"run {start.id} of {row['name']} was not let through, and was called")
            if row["name"] == "throttled":
                throttled.append(start)
            else:
                debounced[json.loads(row["input"])["n"]].append(start)
        self._check_throttle(throttled, in_order=in_order)
        for starts in debounced.values():
            self._check_debounce(starts, in_order=in_order)

    def _check_throttle(self, starts: list[Start], *, in_order: bool) -> None:
        passed = [start.at for start in starts if start.passed]
        most = THROTTLE.count + THROTTLE.most - 1
        for first, last in zip(passed, passed[most:], strict=False):
            if last - first < THROTTLE.per:
                self._world.blame(f"its throttle has let more than {most} through from {first} to {last}")
        if len(passed) < min(len(starts), THROTTLE.most):
            self._world.blame(f"of {len(starts)} starts a throttle has let {len(passed)} through")
        if in_order:
            free_at = starts[0].at if starts else datetime.min
            for start in starts:
                passes = free_at - (THROTTLE.most - 1) * THROTTLE.interval <= start.at
                if passes:
                    free_at = max(free_at, start.at) + THROTTLE.interval
                if passes is not start.passed:
                    self._world.blame(f"run {start.id} of {start.at} was {'not ' if passes else ''}let through")

    def _check_debounce(self, starts: list[Start], *, in_order: bool) -> None:
        near = [
            (start, [other for other in starts if other is not start and abs(other.at - start.at) <= DEBOUNCE.window])
            for start in starts
        ]
        for start, others in near:
            if not start.passed and not others:
                self._world.blame(f"run {start.id} was replaced, and no other was started near {start.at}")
        if starts and not any(start.passed for start in starts):
            self._world.blame("all starts of a debounce were replaced")
        if in_order:
            self._check_rounds(starts)

    def _check_rounds(self, starts: list[Start]) -> None:
        assert DEBOUNCE.at_most is not None
        first: Start | None = None
        for start, after in zip(starts, [*starts[1:], None], strict=True):
            first = first or start
            begins_at = min(start.at + DEBOUNCE.window, first.at + DEBOUNCE.at_most)
            passes = after is None or after.at >= begins_at
            if passes:
                first = None
            if passes is not start.passed:
                self._world.blame(f"run {start.id} of {start.at} was {'replaced' if passes else 'not replaced'}")
