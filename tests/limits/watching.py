"""What many workers do at once, looked at in one snapshot after another while they do it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

from holdfast.store.connect import connect
from tests.house import INVARIANTS, House

NINTH = [
    (title, query)
    for title, _, query in (part.partition("\n") for part in INVARIANTS.split("-- invariant: ")[1:])
    if title.startswith("9")
]
"""Those that hold at every commit, whether anybody is alive or not."""

HELD = """
select holdfast.now() as now, r.input ->> 'customer' as customer, count(*) as held
  from holdfast.task t
  join holdfast.run r on r.id = t.run_id
 where t.name = $1
   and t.bucket_id is not null
 group by 2
"""

BEGUN = """
select holdfast.now() as now, r.input ->> 'customer' as customer, count(*) as held
  from holdfast.task t
  join holdfast.run r on r.id = t.run_id
 where t.name = $1
   and t.first_claim_at is not null
 group by 2
"""


class Watched:
    """The most that was ever seen, in a snapshot: of each key, and of all together."""

    def __init__(self) -> None:
        self.most: Counter[str | None] = Counter()
        self.together = 0
        self.looks = 0
        self.idle_since: datetime | None = None


@asynccontextmanager
async def watched(house: House, name: str, query: str = HELD) -> AsyncGenerator[Watched]:
    """Counts over and over, on a connection of its own, what is taken of the runs of this name."""
    connection = await connect(house.dsn, application="tests")
    found = Watched()

    async def look() -> None:
        while True:
            rows = await connection.fetch(query, name)
            found.looks += 1
            found.together = max(found.together, sum(row["held"] for row in rows))
            for row in rows:
                found.most[row["customer"]] = max(found.most[row["customer"]], row["held"])
            for title, invariant in NINTH if found.looks % 20 == 0 else ():
                broken = await connection.fetch(invariant)
                assert not broken, f"{title}: {broken}"
            await asyncio.sleep(0)

    looking = asyncio.create_task(look())
    try:
        yield found
        if looking.done():
            looking.result()
    finally:
        looking.cancel()
        await asyncio.wait({looking})
        await connection.close()


class FrozenClock:
    """The database's time, which stands still until it is moved."""

    def __init__(self, house: House) -> None:
        self._house = house

    async def advance(self, span: timedelta) -> None:
        """It is so much later now."""
        await self._house.db.execute("update frozen set at = at + $1::interval", span)
        await self._house.db.execute("select holdfast.hint('due default')")


async def frozen(house: House) -> FrozenClock:
    """Stops the clock of the database."""
    await house.db.execute(
        "create table frozen (at timestamptz); insert into frozen values (clock_timestamp());"
        "create or replace function holdfast.now() returns timestamptz language sql volatile parallel safe "
        "as $$ select at from public.frozen $$"
    )
    return FrozenClock(house)
