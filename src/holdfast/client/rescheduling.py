"""Moving runs to another time, another priority or another lane."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID

from holdfast.client.operations import Effect
from holdfast.client.options import due_mistakes, lane_mistakes, priority_mistakes
from holdfast.core.errors import InvalidInput, OperationRefused
from holdfast.store.operations import reschedule as _reschedule

if TYPE_CHECKING:
    from holdfast.client.context import Context
    from holdfast.core.priority import PriorityName
    from holdfast.integrations.catalogue import CallersConnection
    from holdfast.store.session import Session


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """When and where runs are to be; what is not said stays as it is.

    Raises:
        InvalidInput: says everything that is wrong with it.
    """

    at: datetime | None
    after: timedelta | None
    priority: PriorityName | None
    lane: str | None

    def __post_init__(self) -> None:
        mistakes = [*due_mistakes(self.at, self.after)]
        mistakes += [] if self.priority is None else priority_mistakes(self.priority)
        mistakes += [] if self.lane is None else lane_mistakes(self.lane)
        if (self.at, self.after, self.priority, self.lane) == (None,) * 4:
            mistakes.append("say at or after, priority or lane")
        if mistakes:
            raise InvalidInput(f"this cannot be rescheduled: {'; '.join(mistakes)}")


async def reschedule_one(context: Context, run_id: UUID, wish: Wish, *, connection: CallersConnection | None) -> Effect:
    """Moves one run.

    Raises:
        OperationRefused: its time is not for others to say.
        RunNotFound: there is no such run.
    """
    effects, refused = await reschedule(context, [run_id], wish, connection=connection)
    if run_id in refused:
        raise OperationRefused(run_id, refused[run_id])
    return effects[run_id]


async def reschedule(
    context: Context, runs: Sequence[UUID], wish: Wish, *, connection: CallersConnection | None = None
) -> tuple[Mapping[UUID, Effect], Mapping[UUID, str]]:
    """Moves these runs in one transaction; gives what became of each, and why it did not of those that it did not.

    Raises:
        RunNotFound: one of them does not exist; nothing is done to any.
    """

    async def work(session: Session) -> dict[UUID, str]:
        return await _reschedule(session, runs, at=wish.at, after=wish.after, priority=wish.priority, lane=wish.lane)

    words = await context.database.call(work, connection)
    return (
        {run_id: Effect(word) for run_id, word in words.items() if word not in _REFUSED},
        {run_id: _REFUSED[word] for run_id, word in words.items() if word in _REFUSED},
    )


_REFUSED = {
    "begun": "has begun, and when it goes on is for its code to say: wake ends a sleep early, pause stops it; "
    "its priority and its lane can be changed",
    "outside": "waits for somebody outside, who says when it goes on",
}
