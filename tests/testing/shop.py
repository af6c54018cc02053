"""What is tested with the testing kit here."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

from holdfast import App, Connection, Retry, Signal, now, sleep, sleep_until

app = App()
done: list[str] = []

approve = Signal[bool]("approve")


class Declined(Exception):
    """The bank said no."""


TEN_MINUTES = timedelta(minutes=10)


@app.activity(
    retry=Retry(max_attempts=3, initial=TEN_MINUTES, maximum=TEN_MINUTES, factor=1, jitter=0, give_up_on=(Declined,))
)
async def charge(order: int, *, tip: int = 0) -> str:
    done.append(f"charge {order}")
    return f"paid {order + tip}"


@app.activity
def refund(order: int) -> None:
    done.append(f"refund {order}")


@app.activity(timeout=timedelta(minutes=5), retry=Retry(max_attempts=2, initial=timedelta(minutes=1), jitter=0))
async def ship(order: int) -> str:
    done.append(f"ship {order}")
    return f"shipped {order}"


@app.activity
def in_a_thread(order: int) -> int:
    done.append(f"thread {order}")
    return order


@app.activity
async def which_database() -> str:
    """Opens the app from inside, as code under test does."""
    async with app.client() as client:
        run = await client.start(in_a_thread, 1)
    return str(run.id)


@app.activity(isolation="process")
def crunch(order: int) -> int:
    raise NotImplementedError("too slow for tests")


@app.activity(transactional=True)
async def book(connection: Connection, order: int) -> str:
    await connection.execute("create table if not exists booked (number int)")
    await connection.execute("insert into booked values ($1)", order)
    return f"booked {order}"


@app.activity(heartbeat_timeout=timedelta(minutes=2), retry=Retry(max_attempts=1))
async def listen(order: int) -> str:
    return "heard"


@app.workflow
async def account(order: int) -> str:
    return f"{await book(order)} {await crunch(order)}"


@app.workflow
async def buy(order: int) -> str:
    paid = await charge(order)
    await sleep(timedelta(days=3))
    shipped = await ship(order)
    return f"{paid}, {shipped}"


@app.workflow
async def charge_with_a_tip(order: int) -> str:
    return await charge.options(key="special", timeout=timedelta(seconds=5))(order, tip=5)


@app.workflow
async def buy_two(first: int, second: int) -> list[str]:
    return list(await asyncio.gather(buy(first), buy(second)))


@app.workflow
async def every_day(days: int) -> list[datetime]:
    seen: list[datetime] = []
    for _ in range(days):
        await sleep(timedelta(days=1))
        seen.append(now())
        await in_a_thread(len(seen))
    return seen


@app.workflow
async def soon() -> datetime:
    """What is so near is waited for in memory."""
    await sleep(timedelta(milliseconds=200))
    return now()


@app.workflow
async def wait_for_approval(order: int, patience: timedelta | None = None) -> str:
    try:
        return await charge(order) if await approve.wait(timeout=patience) else "no"
    except TimeoutError:
        return f"nobody cared until {now():%H:%M}"


@app.workflow
async def within_an_hour(order: int) -> str:
    try:
        async with asyncio.timeout(3600):
            return await charge(order)
    except TimeoutError:
        await refund(order)
        return f"gave up at {now():%H:%M}"


@app.workflow
async def side_by_side(orders: list[int]) -> list[str]:
    return await asyncio.gather(*(charge(order) for order in orders))


@app.workflow
async def until_noon(moment: datetime) -> datetime:
    await sleep_until(moment)
    return now()


@app.workflow
async def for_ever() -> None:
    while True:
        await sleep(timedelta(minutes=1))
