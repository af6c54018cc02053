"""Starting runs without company: many in one transaction, or any number in a transaction of the caller's own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from holdfast.client.starter import MOST_CHARACTERS, MOST_STARTS
from holdfast.core.errors import KeyConflict
from holdfast.store.starts import Start, Started, start_keyed, start_plain

if TYPE_CHECKING:
    from holdfast.client.database import Database
    from holdfast.store.session import Connection, Session


async def start_all(
    database: Database, starts: Sequence[Start], *, hint: bool, connection: Connection | None = None
) -> list[Started]:
    """Starts all of these runs or none, and answers in their order.

    Raises:
        KeyConflict: one of the keys belongs to a run with another input.
    """
    if not starts:
        return []
    keyed = any(start.key is not None for start in starts)
    # In the order of the keys, so that two who start the same ones queue up instead of meeting in a deadlock.
    order = sorted(range(len(starts)), key=lambda place: _line_up(starts[place])) if keyed else range(len(starts))
    chunks = list(_chunks([starts[place] for place in order]))

    async def send(session: Session) -> list[Started]:
        answers: list[Started] = []
        for chunk in chunks:
            answers += await (start_keyed if keyed else start_plain)(session, chunk, hint=hint)
            refuse_conflicts(chunk, answers[-len(chunk) :])
        return answers

    async def work(session: Session) -> list[Started]:
        if len(starts) == 1 or (len(chunks) == 1 and not keyed):
            # One statement is all or nothing by itself.
            return await send(session)
        async with session.connection.transaction():
            return await send(session)

    answers = await database.call(work, connection)
    return [answer for _, answer in sorted(zip(order, answers, strict=True))]


def refuse_conflicts(starts: Sequence[Start], answers: Sequence[Started]) -> None:
    """Raises KeyConflict for the first start whose key belongs to a run with another input."""
    for start, answer in zip(starts, answers, strict=True):
        if not answer.same:
            raise KeyConflict(answer.id, start.name, start.key or "")


def _line_up(start: Start) -> tuple[str, str]:
    return start.name, start.key or ""


def _chunks(starts: Sequence[Start]) -> Iterator[Sequence[Start]]:
    first, size = 0, 0
    for place, start in enumerate(starts):
        size += len(start.input)
        if place - first == MOST_STARTS or (size > MOST_CHARACTERS and place > first):
            yield starts[first:place]
            first, size = place, len(start.input)
    yield starts[first:]
