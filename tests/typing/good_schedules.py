"""Schedules pass both type checkers, strict, and each type is the one written here."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import assert_type

from holdfast import Activity, App, CatchUp, Client, Overlap, Page, Schedule, ScheduleStatus

app = App()


@app.schedule("0 18 * * mon-fri", tz="America/New_York", tick_parameter="at", overlap="queue", catch_up="all")
@app.schedule(every=timedelta(hours=1), name="hourly", input={"region": "eu"}, tick_parameter="at", priority="high")
@app.workflow
async def close_books(at: datetime, region: str = "us") -> str:
    return f"{region} {at}"


@app.schedule("every 30 minutes between 09:00 and 18:00 on weekdays in Europe/Paris", jitter=timedelta(minutes=5))
@app.activity
def clean_up() -> int:
    return 1


assert_type(clean_up, Activity[[], int])


async def use(client: Client) -> None:
    made = await client.schedules.create("one", clean_up, "@daily", tz="Europe/Paris", overlap="cancel_running")
    assert_type(made, Schedule)
    assert_type(made.overlap, Overlap)
    assert_type(made.catch_up, CatchUp)
    assert_type(made.status, ScheduleStatus)
    assert_type(made.next_at, datetime | None)
    await client.schedules.create("two", close_books.call(datetime.now(UTC)), every=timedelta(minutes=5))
    await client.schedules.create("three", "close_books", "every day at 09:00", input={"region": "eu"})
    assert_type(await client.schedules.update("two", every=timedelta(minutes=10), end=None), Schedule)
    assert_type(await client.schedules.list(), Page[Schedule])
    assert_type(await client.schedules.preview("@hourly", count=3), Sequence[datetime])
    await (await client.schedules.trigger("two")).result()
    await client.schedules.pause("one")
    await client.schedules.resume("one")
    await client.schedules.delete("one")
