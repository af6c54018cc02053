"""Schedules in a simulation: who makes one, and what its ticks have to have come to."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

from holdfast.client import ScheduleStatus
from holdfast.core.errors import InvalidSchedule, ScheduleExists
from tests.simulation.repertoire import tick

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from holdfast.client import Client
    from holdfast.core.schedule import OverlapName
    from tests.simulation.backends import Backends
    from tests.simulation.world import World

    Again = Callable[[Callable[[], Awaitable[None]]], Awaitable[None]]

_SECOND = timedelta(seconds=1)
_LASTS = timedelta(seconds=3)
_SCHEDULES = """
select s.name, s.created_at, s.ends_at,
       array(select (r.options #>> '{schedule,tick}')::timestamptz
               from holdfast.run r
              where r.options #>> '{schedule,id}' = s.id::text
              order by 1) as ticks
  from holdfast.schedule s
 order by s.name
"""


class Clockwork:
    """Schedules that tick every second for a while; whatever happens, each tick makes one run."""

    def __init__(self, world: World, backends: Backends) -> None:
        self._world = world
        self._backends = backends
        self._asked: dict[str, datetime] = {}

    async def follow(self, client: Client, name: str, again: Again, *, overlap: OverlapName) -> None:
        """Makes one, and waits until it has no tick left; ``again`` does something until it is acknowledged."""
        await again(partial(self._make, client, name, overlap))
        ended = False

        async def look() -> None:
            nonlocal ended
            found = await client.schedules.get(name)
            ended = found.status is ScheduleStatus.ENDED and not found.queued

        while not ended:
            await asyncio.sleep(0.5)
            await again(look)

    async def _make(self, client: Client, name: str, overlap: OverlapName) -> None:
        self._asked.setdefault(name, self._world.moment)
        try:
            await client.schedules.create(
                name,
                tick,
                every=_SECOND,
                end=self._world.moment + _LASTS,
                tick_parameter="at",
                overlap=overlap,
                catch_up="all",
            )
        except ScheduleExists:
            # Its answer was lost.
            return
        except InvalidSchedule:
            # The clock was asked for so long that its end has come meanwhile.
            await self._make(client, name, overlap)

    def check(self) -> None:
        """Each tick has made one run, and none was left out."""
        for row in self._backends.look(_SCHEDULES):
            wanted: list[datetime] = []
            # What passes while the schedule is on its way to the database is one of its ticks, or is not.
            first = row["created_at"].replace(microsecond=0) + _SECOND
            moment = min([first, *(one for one in row["ticks"] if one > self._asked[row["name"]])])
            while moment < row["ends_at"]:
                wanted.append(moment)
                moment += _SECOND
            if row["ticks"] != wanted:
                self._world.blame(
                    f"schedule {row['name']}, made at {row['created_at']} until {row['ends_at']}, has made runs of "
                    f"{[one.isoformat() for one in row['ticks']]}"
                )
