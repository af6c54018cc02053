"""The order in which a run writes while one of its transactional activities commits.

The journal's order is the order seen. What the group commit writes for a run comes in the order of its seqs by itself;
a transactional activity commits beside it. So its commit has a turn: what the run has handed in before is waited for,
then it has the journal to itself, and what the run wants written meanwhile waits here until it is known what became of
the commit.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from holdfast.store.writes import JournalWrite
    from holdfast.worker.held import HeldRun, Unit


class Turn:
    """The moment at which one transactional activity may commit; its seq is its place among what the run writes."""

    __slots__ = ("_settled", "granted", "hold", "owner", "row")

    def __init__(
        self, owner: HeldRun, row: JournalWrite | None, settled: Callable[[Turn, datetime | None], None]
    ) -> None:
        self.owner = owner
        self.hold = owner.hold
        """The run may be held again by then, and not for this any more."""
        self.row = row
        """What it records; None: the end of a job."""
        self.granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._settled: Callable[[Turn, datetime | None], None] | None = settled

    @property
    def over(self) -> bool:
        """Whether it is known what became of it."""
        return self._settled is None

    @property
    def under_way(self) -> bool:
        """Whether it may have been committed, and nobody knows yet."""
        return self.granted.done() and not self.over

    def grant(self) -> None:
        """Now."""
        if not self.granted.done():
            self.granted.set_result(None)

    def withdraw(self) -> None:
        """Nobody wants it any more. One that was granted goes on to its end."""
        if not self.granted.done():
            self.settle(None)

    def settle(self, at: datetime | None) -> None:
        """It was committed, at that time, or it never will be."""
        settled, self._settled = self._settled, None
        if settled is not None:
            self.granted.cancel()
            settled(self, at)


class Writing(Protocol):
    """A run whose writes pass through a gate."""

    hold: int

    @property
    def under_way(self) -> int | None:
        """How many of its writes are not durable yet, those in the gate included; None: ask after its next step."""
        ...

    def pass_on(self, unit: Unit) -> None:
        """To the group commit."""
        ...

    def recorded(self, row: JournalWrite, at: datetime) -> None:
        """This row is durable since then."""
        ...


class Gate:
    """What one run wants written and what it wants committed, in line."""

    __slots__ = ("_held", "_line", "_run")

    def __init__(self, run: Writing) -> None:
        self._run: Writing | None = run
        self._line: deque[Unit | Turn] = deque()
        self._held = 0

    def ask(self, owner: HeldRun, row: JournalWrite) -> Turn:
        """A turn, in line behind what the run has wanted written before."""
        turn = Turn(owner, row, self._over)
        self._line.append(turn)
        self.advance()
        return turn

    def hold(self, unit: Unit) -> bool:
        """Takes in what has to wait; False: nothing does."""
        if not self._line:
            return False
        self._line.append(unit)
        self._held += 1
        self.advance()
        return True

    def advance(self) -> None:
        """Lets go on what may."""
        run, line = self._run, self._line
        under_way = None if run is None else run.under_way
        if run is None or under_way is None:
            return
        while line:
            head = line[0]
            if not isinstance(head, Turn):
                line.popleft()
                self._held -= 1
                run.pass_on(head)
            elif head.over:
                line.popleft()
            elif under_way > self._held:
                return
            else:
                head.grant()
                return

    def close(self) -> None:
        """Nothing of the run is written any more."""
        self._run = None
        self._line.clear()

    def _over(self, turn: Turn, at: datetime | None) -> None:
        if self._run is None or turn.hold != self._run.hold:
            return
        if at is not None and turn.row is not None:
            self._run.recorded(turn.row, at)
        # Not now: a step may be under way, which withdraws more than this one.
        asyncio.get_running_loop().call_soon(self.advance)
