"""The company of suspects: how many of them are executed at a time, in one process.

When a process dies, each run that it was executing is suspected once more: so who did it is looked for among fewer and
fewer, and whoever gets on meanwhile is none any more. A run with four crashes has no company: the fifth is its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from uuid import UUID

    from holdfast.worker.held import HeldRun

MANY = 64
FEW = 8
"""Their square: of so many who are there with three crashes no more follow on each other than were there with two."""


def most(crashes: int) -> int:
    """How many that have so many crashes are executed at a time."""
    return MANY if crashes < 3 else FEW if crashes == 3 else 1


class Company:
    """Those whose code may have been entered, and that are still held: of one kind at a time."""

    def __init__(self) -> None:
        self._entered: set[UUID] = set()
        self._most = 0

    def choose(self, ready: Iterable[HeldRun]) -> Sequence[HeldRun]:
        """Who may be entered beside those that are; where nobody is, those with the fewest crashes."""
        kinds = [(most(run.crashed), run) for run in ready]
        if not self._entered:
            self._most = max((kind for kind, _ in kinds), default=0)
        return [run for kind, run in kinds if kind == self._most][: self._most - len(self._entered)]

    def enter(self, run_id: UUID) -> None:
        """Its code is about to be entered."""
        self._entered.add(run_id)

    def leave(self, run_id: UUID) -> None:
        """It is not held any more."""
        self._entered.discard(run_id)
