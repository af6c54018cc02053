"""Tasks of one client that do the same thing again and again, at the same time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """How much was done in all, and how much per second once it was warm."""

    total: int
    per_second: float


async def run_crowd(size: int, act: Callable[[int], Awaitable[int]], *, warm_up: float, seconds: float) -> Tally:
    """So many tasks, each of which acts until the time is over.

    ``act`` is given a number that nobody else is given, and gives how much it has done. Each task acts once at least.
    """
    done: list[tuple[float, int]] = []
    began = time.perf_counter()
    ends = began + warm_up + seconds
    numbers = iter(range(2**31 - 1))

    async def go_on() -> None:
        while True:
            count = await act(next(numbers))
            done.append((time.perf_counter(), count))
            if done[-1][0] >= ends:
                return

    async with asyncio.TaskGroup() as crowd:
        for _ in range(size):
            crowd.create_task(go_on())
    return Tally(total=sum(count for _, count in done), per_second=_pace([(began, 0), *done], began + warm_up, ends))


async def run_times(size: int, times: int, act: Callable[[int], Awaitable[None]]) -> None:
    """So many tasks, which together act so many times."""
    numbers = iter(range(times))

    async def go_on() -> None:
        for number in numbers:
            await act(number)

    async with asyncio.TaskGroup() as crowd:
        for _ in range(size):
            crowd.create_task(go_on())


def _pace(done: list[tuple[float, int]], begin: float, end: float) -> float:
    """What was done between the first and the last time that something was, within these times."""
    warm = [(at, count) for at, count in done if begin <= at <= end]
    if len(warm) < 2 or warm[-1][0] == warm[0][0]:
        # Too short for that: cold is better than nothing.
        warm = done
    return sum(count for _, count in warm[1:]) / (warm[-1][0] - warm[0][0])
