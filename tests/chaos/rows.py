"""Rows that many write to: a transaction of a caller's that is left open on one of them keeps everybody waiting."""

from __future__ import annotations

import asyncio

import asyncpg

from holdfast.client.database import DRIVER_ERRORS

TASKS = "select from holdfast.task order by random() limit 5 for update skip locked"
"""Five that are open, whichever nobody else has just now."""
LIMIT = "select from holdfast.limit_key order by taken desc, at desc limit 1 for update"
"""That of the key of which most permits are taken."""
SCHEDULE = "select from holdfast.schedule where active limit 1 for update"
PARENT = """
select from holdfast.task t
 where t.run_id = (
   select r.parent
     from holdfast.task o
     join holdfast.run r on r.id = o.run_id
    where r.parent is not null
    group by r.parent
    order by count(*) desc, r.parent
    limit 1
 )
   for update
"""
"""That of the parent with the most open children, each of which tells it how it ends."""
LISTENER = """
select from holdfast.task t
 where t.run_id = (select i.run_id from holdfast.inbox i group by i.run_id order by count(*) desc, i.run_id limit 1)
   for update
"""
"""That of the run with the most letters in its inbox: each that comes is counted there."""

_PATIENCE = "set local lock_timeout = '1s'"
"""It waits for the row itself, but nobody shall stand behind it for longer."""


async def leave_open(dsn: str, rows: str, seconds: float) -> bool:
    """Locks these rows for so long; says whether there were any to be locked."""
    met = False
    try:
        connection = await asyncpg.connect(dsn)
    except DRIVER_ERRORS:
        return met
    try:
        async with connection.transaction():
            await connection.execute(_PATIENCE)
            if not await connection.fetch(rows):
                return met
            met = True
            await asyncio.sleep(seconds)
    except DRIVER_ERRORS:
        # The server has gone, and its locks with it; or the row was never free.
        pass
    finally:
        connection.terminate()
    return met
