"""Consumers: how they register, say that they are there, and leave."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from holdfast.core.queue import ConsumerState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from holdfast.store.session import Session


class Registration(NamedTuple):
    """What a consumer is known by among the workers."""

    worker: int
    epoch: int


class Report(NamedTuple):
    """What a consumer says of itself. ``rate`` is what it has handled in a second, since its last report."""

    state: ConsumerState
    in_hands: int
    handled: int
    rate: float


class Listed(NamedTuple):
    """A consumer as lists show it."""

    name: str
    host: str
    pid: int
    state: ConsumerState
    in_hands: int
    handled: int
    rate: float
    started_at: datetime
    seen_at: datetime


async def register(session: Session, *, name: str, host: str, pid: int, lane: str, lease: timedelta) -> Registration:
    """Makes it known, with a lease that begins now."""
    row = await session.row("register_consumer", name=name, host=host, pid=pid, lane=lane, lease=lease)
    assert row is not None
    return Registration(*row)


async def beat(session: Session, registration: Registration, report: Report) -> tuple[bool, str | None]:
    """Renews its lease; says whether there was one to renew, and what it is told to do."""
    worker, epoch = registration
    row = await session.row("beat_consumer", worker=worker, epoch=epoch, **report._asdict())
    return row is not None, None if row is None else row["command"]


async def leave(session: Session, registration: Registration, handled: int) -> None:
    """It is not there any more. Said a second time it changes nothing."""
    await session.fetch("leave_consumer", worker=registration.worker, epoch=registration.epoch, handled=handled)


async def read_consumers(session: Session, *, lane: str | None, all_: bool) -> Sequence[Listed]:
    """The consumers of a queue, or of every one; with ``all_`` also those that are not there any more."""
    rows = await session.fetch("list_consumers", lane=lane, all=all_)
    return [Listed(*row)._replace(state=ConsumerState(row["state"])) for row in rows]
