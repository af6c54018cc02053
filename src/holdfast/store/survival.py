"""What a worker that has lost its lease says of itself: that it lives on, so that none of its runs has ended it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from uuid import UUID

    from holdfast.store.session import Session


class Held(NamedTuple):
    """A run that it held, and how many crashes were counted against that when it was claimed."""

    run_id: UUID
    hold: int
    crashes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Survival:
    """Of one identity: it could not renew its lease, and its process was well.

    Attributes:
        worker: The number that it had.
        runs: All that it held. It has dropped them.
    """

    worker: int
    runs: Sequence[Held]


async def survive(session: Session, survival: Survival) -> int:
    """No crash is counted against these runs for it; says for how many one is taken back. May be said twice."""
    return int(
        await session.value(
            "survive",
            worker=survival.worker,
            runs=[run.run_id for run in survival.runs],
            holds=[run.hold for run in survival.runs],
            crashes=[run.crashes for run in survival.runs],
        )
    )
