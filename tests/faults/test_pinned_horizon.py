"""R13: transactions that stay open and pin the xmin horizon stall nothing, and nothing is lost by them."""

from __future__ import annotations

import random

from holdfast.store.connect import connect
from tests.apps.journeys import lasts
from tests.faults.load import SOON, Load


async def test_open_transactions_hold_up_nobody_and_what_they_start_is_found(load: Load) -> None:
    house = load.house
    reader = await connect(house.dsn, application="a reader")
    writer = await connect(house.dsn, application="a writer")
    try:
        reading = reader.transaction(isolation="repeatable_read")
        await reading.start()
        await reader.fetchval("select count(*) from holdfast.task")
        writing = writer.transaction()
        await writing.start()
        # It has an xid from the beginning, and its runs are due from the beginning too.
        late = await load.client.start(lasts, 0.0, connection=writer)
        late_flow = await load.client.start_many([lasts.call(0.0)] * 20, connection=writer)
        for _ in range(2):
            await load.worker(None, "--lease", "3s")
        chance = random.Random(1)
        for turn in range(6):
            await load.add(5, jobs=40)
            await load.signal(4)
            await load.goes_on(chance)
            # As each worker does now and then.
            await house.db.execute("select holdfast.raise_floors(array['default'], array[3::smallint])")
            if turn == 3:
                await writing.commit()
        runs = [late, *late_flow]
        assert {await run.result(timeout=SOON) for run in runs} == {"done"}
        # At once, and not when the pin is gone.
        late_by = await house.value(
            "select max(first_claim_at) < clock_timestamp() and (select backend_xmin is not null "
            "from pg_stat_activity where application_name = 'a reader' and datname = current_database()) "
            "from holdfast.result where run_id = any ($1::uuid[])",
            [run.id for run in runs],
        )
        assert late_by
        await load.ends_well()
        await load.called_once()
        # The snapshot of the reader has seen nothing of all that.
        assert await reader.fetchval("select count(*) from holdfast.task") == 0
        await reading.rollback()
    finally:
        reader.terminate()
        writer.terminate()


async def test_a_writer_that_stays_open_to_the_end_starts_what_is_found_after_all(load: Load) -> None:
    house = load.house
    writer = await connect(house.dsn, application="a writer")
    try:
        await load.worker(None, "--lease", "3s")
        async with writer.transaction():
            late = await load.client.start_many([lasts.call(0.0)] * 5, connection=writer)
            await load.add(10, jobs=100)
            await load.signal(10)
            await load.house.until("select count(*) = 110 from holdfast.result")
            await house.db.execute("select holdfast.raise_floors(array['default'], array[3::smallint])")
        assert {await run.result(timeout=SOON) for run in late} == {"done"}
        await load.ends_well()
    finally:
        writer.terminate()
