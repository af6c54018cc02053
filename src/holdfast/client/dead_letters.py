"""The dead letters of one queue."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Generic, TypeVar
from uuid import UUID

from holdfast.client.listing import MOST_ON_A_PAGE, Page
from holdfast.core.errors import InvalidInput, RunNotFound
from holdfast.core.headers import Headers, headers_of
from holdfast.core.priority import Priority, PriorityName
from holdfast.core.queue import queue_of
from holdfast.store import lines as store

if TYPE_CHECKING:
    from holdfast.client.context import Context
    from holdfast.client.settling import Settler
    from holdfast.store.session import Session

T = TypeVar("T")

_Some = Callable[["Session", str, "Sequence[UUID] | None", datetime], Awaitable[tuple[int, int]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter(Generic[T]):
    """A message that nobody receives any more."""

    id: UUID
    queue: str
    reason: str
    """What was said of it, or that it was delivered too often."""
    deliveries: int
    """How often it was delivered."""
    died_at: datetime
    sent_at: datetime
    priority: PriorityName
    headers: Headers
    text: str
    """The body as it is stored."""
    read: Callable[[str], T]

    @property
    def body(self) -> T:
        """What was sent.

        Raises:
            InvalidInput: it does not fit the type of the queue.
            Unreadable: it was written with a codec that is not configured here.
        """
        return self.read(self.text)


class DeadLetters(Generic[T]):
    """What became dead letters: ``queue.dead_letters``. They stay until they are redriven or purged."""

    def __init__(self, context: Context, lane: str, settler: Settler[T]) -> None:
        self._context = context
        self._lane = lane
        self._settler = settler

    async def list(self, *, after: str | None = None, limit: int = 100) -> Page[DeadLetter[T]]:
        """One page of them, those first that died first; ``after`` is the ``next`` of the page before."""
        if not 1 <= limit <= MOST_ON_A_PAGE:
            raise InvalidInput(f"dead letters cannot be listed: limit is {limit}: use 1 to {MOST_ON_A_PAGE}")
        last = None if after is None else _place(after)
        rows = await self._context.database.call(
            lambda session: store.read_dead(session, self._lane, last=last, count=limit + 1)
        )
        items = tuple(self._letter(row) for row in rows[:limit])
        return Page(items=items, next=f"{items[-1].died_at.isoformat()} {items[-1].id}" if len(rows) > limit else None)

    async def get(self, message_id: UUID | str) -> DeadLetter[T]:
        """The dead letter with this id.

        Raises:
            RunNotFound: there is none in this queue.
        """
        (run_id,) = _ids([message_id])
        rows = await self._context.database.call(
            lambda session: store.read_dead(session, self._lane, run_id=run_id, count=1)
        )
        if not rows:
            raise RunNotFound(run_id)
        return self._letter(rows[0])

    async def redrive(self, ids: Iterable[UUID | str] | None = None) -> int:
        """Makes them due again, all that there are now or these; gives how many.

        Their deliveries count anew. Of two who redrive the same at once each message is redriven by one.
        """
        count = await self._each(store.redrive, ids)
        if count:
            self._context.hinter.add(f"due {self._lane}")
        return count

    async def purge(self, ids: Iterable[UUID | str] | None = None) -> int:
        """Removes them for good, all that there are now or these; gives how many."""
        return await self._each(store.purge_dead, ids)

    async def _each(self, some: _Some, ids: Iterable[UUID | str] | None) -> int:
        runs = None if ids is None else _ids(ids)
        if runs == []:
            return 0
        before = await self._context.database.call(store.read_clock)
        count = 0
        while True:
            met, done = await self._context.database.call(lambda session: some(session, self._lane, runs, before))
            count += done
            if not met:
                return count

    def _letter(self, row: store.Dead) -> DeadLetter[T]:
        return DeadLetter(
            id=row.run_id,
            queue=queue_of(self._lane),
            reason=row.reason,
            deliveries=row.deliveries,
            died_at=row.at,
            sent_at=row.created_at,
            priority=Priority(row.priority).word,
            headers=headers_of(row.options),
            text=row.input,
            read=self._settler.read,
        )


def _ids(ids: Iterable[UUID | str]) -> list[UUID]:
    try:
        return [one if isinstance(one, UUID) else UUID(one) for one in ids]
    except ValueError as error:
        raise InvalidInput(f"this is no id of a message: {error}") from error


def _place(after: str) -> tuple[datetime, UUID]:
    try:
        at, _, run_id = after.partition(" ")
        return datetime.fromisoformat(at), UUID(run_id)
    except ValueError as error:
        raise InvalidInput(f"after is {after!r}, which is the end of no page") from error
