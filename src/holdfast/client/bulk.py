"""Starting runs without company: many in one transaction, or any number in a transaction of the caller's own."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from holdfast.client.database import LIMIT
from holdfast.client.starter import MOST_CHARACTERS, MOST_STARTS
from holdfast.core.errors import KeyConflict, KeyTaken
from holdfast.store.starts import Start, Started, start_keyed, start_plain

if TYPE_CHECKING:
    from holdfast.client.database import Database
    from holdfast.integrations.catalogue import CallersConnection
    from holdfast.store.session import Session


async def start_all(
    database: Database,
    starts: Iterable[Start],
    *,
    count: int,
    keyed: bool,
    hint: bool,
    connection: CallersConnection | None = None,
) -> list[Started]:
    """Starts all of these ``count`` runs or none, and answers in their order.

    Those without keys may be made as they are asked for: that goes on while the ones before are on their way.

    Raises:
        KeyConflict, KeyTaken: as ``refuse_conflicts``.
    """
    if keyed:
        return await _start_keyed(database, list(starts), hint=hint, connection=connection)
    chunks = _Chunks(starts)

    async def work(session: Session) -> list[Started]:
        if chunks.at(1) is None:
            # One statement is all or nothing by itself.
            return await _send(session, chunks, hint=hint)
        async with session.transaction():
            return await _send(session, chunks, hint=hint)

    return [] if chunks.at(0) is None else await database.call(work, connection, limit=_limit(count))


async def _send(session: Session, chunks: _Chunks, *, hint: bool) -> list[Started]:
    answers: list[Started] = []
    place = 0
    while chunk := chunks.at(place):
        sending = asyncio.ensure_future(start_plain(session, chunk, hint=hint))
        try:
            # It has its turn to send, and then the next ones are made while the database is at work.
            await asyncio.sleep(0)
            place += 1
            chunks.at(place)
        finally:
            answers += await sending
    return answers


async def _start_keyed(
    database: Database, starts: Sequence[Start], *, hint: bool, connection: CallersConnection | None
) -> list[Started]:
    # In the order of the keys, so that two who start the same ones queue up instead of meeting in a deadlock.
    order = sorted(range(len(starts)), key=lambda place: (starts[place].manner.name, starts[place].key or ""))
    chunks = _Chunks(starts[place] for place in order)

    async def work(session: Session) -> list[Started]:
        answers: list[Started] = []
        async with session.transaction():
            place = 0
            while chunk := chunks.at(place):
                some = await start_keyed(session, chunk, hint=hint)
                refuse_conflicts(chunk, some)
                answers += some
                place += 1
        return answers

    answers = await database.call(work, connection, limit=_limit(len(starts)))
    return [answer for _, answer in sorted(zip(order, answers, strict=True))]


def _limit(count: int) -> float:
    """The seconds after which so many starts are given up: at a pace that the slowest of disks can keep."""
    return LIMIT + count / 1000


def refuse_conflicts(starts: Sequence[Start], answers: Sequence[Started]) -> None:
    """Refuses the first start whose key belongs to a run that it cannot be answered with.

    Raises:
        KeyTaken: it is to be refused whatever that run is.
        KeyConflict: that run has another input.
    """
    for start, answer in zip(starts, answers, strict=True):
        if answer.refused:
            raise KeyTaken(answer.id, start.manner.name, start.key or "")
        if not answer.same:
            raise KeyConflict(answer.id, start.manner.name, start.key or "")


class _Chunks:
    """Starts in chunks, each made when it is first asked for, and kept in case that it has to be sent again."""

    def __init__(self, starts: Iterable[Start]) -> None:
        self._made: list[Sequence[Start]] = []
        self._rest = _cut(starts)

    def at(self, place: int) -> Sequence[Start] | None:
        """The chunk at this place; None: there are not so many."""
        while len(self._made) <= place:
            chunk = next(self._rest, None)
            if chunk is None:
                return None
            self._made.append(chunk)
        return self._made[place]


def _cut(starts: Iterable[Start]) -> Iterator[Sequence[Start]]:
    chunk: list[Start] = []
    size = 0
    for start in starts:
        if len(chunk) == MOST_STARTS or (chunk and size + len(start.input) > MOST_CHARACTERS):
            yield chunk
            chunk, size = [], 0
        chunk.append(start)
        size += len(start.input)
    if chunk:
        yield chunk
