"""What a bucket has taken before its time, in the order in which it is due."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from itertools import count, islice, takewhile
from operator import itemgetter
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from uuid import UUID

    from holdfast.worker.held import HeldRun

_numbers = count()
_due = itemgetter(0)
_place = itemgetter(0, 1)


class Early(NamedTuple):
    """A run in memory that is not due yet."""

    due: datetime
    number: int
    """Tells those apart that are due at the same moment."""
    run: HeldRun
    untouched: bool
    """Whether nobody has begun it: its own time begins when it is due."""


class Ahead:
    """The runs of one bucket that are not due yet."""

    __slots__ = ("_line", "_of")

    def __init__(self) -> None:
        self._line: list[Early] = []
        self._of: dict[UUID, Early] = {}

    def __len__(self) -> int:
        return len(self._line)

    def __contains__(self, run_id: UUID) -> bool:
        return run_id in self._of

    def __getitem__(self, run_id: UUID) -> Early:
        return self._of[run_id]

    def add(self, run: HeldRun, due: datetime, *, untouched: bool) -> None:
        """This one is due then."""
        self.discard(run.run_id)
        early = self._of[run.run_id] = Early(due, next(_numbers), run, untouched)
        insort(self._line, early, key=_place)

    def discard(self, run_id: UUID) -> None:
        """It does not wait here any more."""
        early = self._of.pop(run_id, None)
        if early is not None:
            del self._line[bisect_left(self._line, _place(early), key=_place)]

    def clear(self) -> None:
        """Nothing waits here any more."""
        self._line.clear()
        self._of.clear()

    @property
    def first_due(self) -> datetime | None:
        """When the next one is due."""
        return self._line[0].due if self._line else None

    def until(self, moment: datetime) -> Iterator[Early]:
        """Those that are due by then, in order."""
        return takewhile(lambda early: early.due <= moment, self._line)

    def after(self, moment: datetime) -> datetime | None:
        """When the first is due that is due later than that."""
        place = bisect_right(self._line, moment, key=_due)
        return self._line[place].due if place < len(self._line) else None

    def last(self, most: int) -> list[Early]:
        """Those that are due last."""
        return list(islice(reversed(self._line), most))
