"""An app whose runs hear signals, and the process that sends them at the worst of moments.

``python -m tests.apps.racing DSN MOMENT COUNT PATIENCE RUN...`` sends each run COUNT signals, one after the other: each
as soon as the one before is journaled (MOMENT ``parks``), or by twos as soon as the run is parked, so that the second
comes while it is claimed because of the first (``claimed``). Its exit code is 1 if one of them was not heard within
PATIENCE seconds.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from typing import TYPE_CHECKING, TypeAlias
from uuid import UUID

import asyncpg

from holdfast import App, Signal

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

    Connection: TypeAlias = PoolConnectionProxy[asyncpg.Record]

app = App()

beat = Signal[int]("beat")


@app.workflow
async def hears(count: int) -> list[int]:
    return [await beat.wait() for _ in range(count)]


AT_ONCE = 8
"""So many runs are sent to at a time."""

_HEARD = """
select (select count(*) from holdfast.journal j where j.run_id = $1) >= $2
   and ($3 is false
        or exists (select from holdfast.task t where t.run_id = $1 and t.bucket_id is null and t.waits_inbox))
"""


async def race(dsn: str, moment: str, count: int, patience: float, runs: list[UUID]) -> bool:
    """Sends them all; says whether all were heard."""
    waiting = list(runs)
    pool = await asyncpg.create_pool(dsn, min_size=AT_ONCE, max_size=AT_ONCE)
    try:
        heard = await asyncio.gather(*[_send_to_each(pool, moment, count, patience, waiting) for _ in range(AT_ONCE)])
    finally:
        pool.terminate()
    return all(heard)


async def _send_to_each(
    pool: asyncpg.Pool[asyncpg.Record], moment: str, count: int, patience: float, waiting: list[UUID]
) -> bool:
    async with pool.acquire() as connection:
        while waiting:
            run = waiting.pop()
            step = 1 if moment == "parks" else 2
            for first in range(0, count, step):
                if not await _heard(connection, run, first, parked=moment == "claimed", patience=patience):
                    sys.stdout.write(f"run {run} has not heard signal {first - 1}\n")
                    waiting.clear()
                    return False
                for number in range(first, first + step):
                    # Somewhere in the few milliseconds that a claim or a park takes.
                    await asyncio.sleep(random.uniform(0.0, 0.004))
                    await connection.execute("select holdfast.signal($1, 'beat', to_json($2::int))", run, number)
    return True


async def _heard(connection: Connection, run: UUID, count: int, *, parked: bool, patience: float) -> bool:
    """Waits until the run has journaled so many signals, and is parked if that is asked for."""
    over = time.monotonic() + patience
    while not await connection.fetchval(_HEARD, run, count, parked):
        if time.monotonic() > over:
            return False
    return True


if __name__ == "__main__":
    dsn, moment, count, patience, *runs = sys.argv[1:]
    sys.exit(0 if asyncio.run(race(dsn, moment, int(count), float(patience), [UUID(run) for run in runs])) else 1)
