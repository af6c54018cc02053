"""Steering sessions against each other: what is under way is done, or stands before a lock."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

import asyncpg

from holdfast.store.session import Session
from tests.house import until
from tests.store.ground import Ground


async def waits(ground: Ground, session: Session, doing: asyncio.Future[Any]) -> bool:
    """True as soon as what the session does waits for somebody's lock; False as soon as it is done."""
    look = await ground.connect()
    pid = session.connection.get_server_pid()

    async def settled() -> str | None:
        if doing.done():
            return "done"
        waiting: bool = await look.fetchval(
            "select coalesce(bool_or(wait_event_type = 'Lock'), false) from pg_stat_activity where pid = $1", pid
        )
        return "waits" if waiting else None

    return bool(await until(settled, "it is done, or waits") == "waits")


async def refusal(doing: Awaitable[Any]) -> str:
    """The SQLSTATE with which the database refuses it, or ``done``."""
    try:
        await doing
    except asyncpg.PostgresError as error:
        return error.sqlstate or "?"
    return "done"
