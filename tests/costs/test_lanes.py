"""A process that serves a hundred lanes costs the database, while nothing is due, what a process of one lane does."""

from __future__ import annotations

from datetime import timedelta

from holdfast.app.hosted import WorkerOptions
from tests.house import QUICK, House

LANES = [f"lane-{number}" for number in range(100)]

OF_THIS_DATABASE = "dbid = (select oid from pg_database where datname = current_database())"
EVERYTHING = (
    "select sum(calls)::int from pg_stat_statements where query not like '%pg_stat_statements%'"
    # What the driver asks once on each connection, the first time that it meets an array.
    f" and query not like '%typeinfo_tree%' and query not like '%set_config(%' and {OF_THIS_DATABASE}"
)
GLANCES = f"from pg_stat_statements where query like '%as l (lane)%lane_floor%' and {OF_THIS_DATABASE}"
POLLS = 15

IDLE: WorkerOptions = {**QUICK, "poll": timedelta(milliseconds=200), "lease": timedelta(seconds=3)}
"""As by default, but for the length of a poll: what is done now and then is done every fifth or tenth of them."""


async def test_a_hundred_idle_lanes_ask_at_most_three_times_in_a_poll_over_few_connections(house: House) -> None:
    app = house.app()

    @app.activity
    async def noop(number: int) -> int:
        return number

    client = await house.client(app)
    await house.db.execute("create extension if not exists pg_stat_statements")
    async with app.workers(*LANES, **IDLE):
        await house.until("select count(*) = $1 from holdfast.worker where state = 'active'", len(LANES))
        await house.until(f"select sum(calls) >= 5 {GLANCES}")
        began, before = await house.value(f"select sum(calls)::int {GLANCES}"), await house.value(EVERYTHING)
        await house.until(f"select sum(calls) >= {began + POLLS} {GLANCES}")
        ended, after = await house.value(f"select sum(calls)::int {GLANCES}"), await house.value(EVERYTHING)
        assert (after - before) / (ended - began) <= 3
        connections = await house.value(
            "select count(*) from pg_stat_activity where datname = current_database()"
            " and application_name like 'holdfast%' and application_name <> 'holdfast client'"
        )
        assert connections <= 12
        # And each of them is at work all the same.
        for run in [await client.start(noop, 1, lane=lane) for lane in LANES]:
            assert await run.result(timeout=timedelta(seconds=60)) == 1
