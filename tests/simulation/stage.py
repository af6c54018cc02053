"""The stage of a schedule: where activities tell what they do, and what was told to them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple
from uuid import UUID

from holdfast import ActivityInfo, activity_info


class Called(NamedTuple):
    """One call of an activity."""

    run_id: UUID
    key: str
    attempt: int


@dataclass(slots=True)
class Stage:
    """Where activities tell what they do: that of the schedule that is simulated."""

    called: Callable[[Called], None] | None = None
    block: Callable[[float], None] | None = None
    blame: Callable[[str], None] | None = None
    ledger: list[Called] = field(default_factory=list[Called])
    tokens: dict[tuple[UUID, int], str] = field(default_factory=dict[tuple[UUID, int], str])
    """What attempts of runs have given away, to be completed by."""
    mended: set[UUID] = field(default_factory=set[UUID])
    """Runs that fail no more."""

    def clear(self) -> None:
        """As before any schedule."""
        self.called = self.block = self.blame = None
        self.ledger.clear()
        self.tokens.clear()
        self.mended.clear()


stage = Stage()


def note() -> ActivityInfo:
    """This attempt has begun."""
    info = activity_info()
    call = Called(info.run_id, info.key, info.attempt)
    stage.ledger.append(call)
    if stage.called is not None:
        stage.called(call)
    return info


def check_details(info: ActivityInfo) -> None:
    """What an attempt is given was said by those before it; where it is made for the first time, by the last, at last.

    Of those that say twice how far they are, ten times their number and then some, and fail.
    """
    found, number = info.details, info.attempt
    before = None if number == 1 else 10 * (number - 1) + 2
    again = stage.ledger.count(Called(info.run_id, info.key, number)) > 1
    if found != before and not (again and found in (10 * number + 1, 10 * number + 2)) and stage.blame is not None:
        stage.blame(f"attempt {number} of {info.key} of run {info.run_id} is told of {found}, and not of {before}")
