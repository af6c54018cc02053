"""The run's time, and waiting for it to pass."""

from __future__ import annotations

import math
from asyncio import Future
from asyncio import sleep as _yield
from datetime import UTC, datetime, timedelta

from holdfast.workflow.current import workflow_loop
from holdfast.workflow.loop import WorkflowLoop


def now() -> datetime:
    """The run's own time, in UTC: when the latest outcome that it has seen was recorded. The same on every replay."""
    return workflow_loop("now()", "use datetime.now(UTC)").delivery.at


async def sleep(duration: timedelta | float) -> None:
    """Waits for ``duration`` (or so many seconds), through restarts and deploys; meanwhile the run is a row.

    Raises:
        ValueError: the duration is not a number.
    """
    loop = workflow_loop("sleep()", "use asyncio.sleep()")
    delay = duration if isinstance(duration, timedelta) else _duration(duration)
    if delay <= timedelta(0):
        await _yield(0)
    else:
        await _until(loop, loop.in_time(delay))


async def sleep_until(moment: datetime) -> None:
    """Waits for ``moment``, through restarts and deploys; meanwhile the run is a row.

    Raises:
        ValueError: ``moment`` has no time zone.
    """
    loop = workflow_loop("sleep_until()", "use asyncio.sleep()")
    if moment.tzinfo is None:
        raise ValueError(f"sleep_until() needs a time with a time zone, not {moment!r}: add tzinfo=UTC or a ZoneInfo")
    moment = moment.astimezone(UTC)
    if moment <= loop.delivery.at:
        await _yield(0)
    else:
        await _until(loop, moment)


async def _until(loop: WorkflowLoop, deadline: datetime) -> None:
    future = loop.create_future()
    timer = loop.set_timer(deadline, _wake, future)
    try:
        await future
    finally:
        timer.cancel()


def _wake(future: Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _duration(seconds: float) -> timedelta:
    if math.isnan(seconds):
        raise ValueError("sleep() needs a duration, not NaN")
    try:
        return timedelta(seconds=seconds)
    except OverflowError:
        return timedelta.max if seconds > 0 else timedelta(0)
