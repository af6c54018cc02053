"""What can be done to one run can be done to all that fit some filters: with a count, a limit, and a look before."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

import pytest

from holdfast import Effect, InvalidInput, Retry, RunStatus, Signal, sleep
from tests.house import House
from tests.scenarios.soon import SOON

go = Signal[str]("go")


class Declined(Exception):
    """Raised by activities of these tests."""


async def statuses(house: House, name: str = "flow") -> Counter[str]:
    rows = await house.db.fetch("select status, count(*) from holdfast.runs where name = $1 group by 1", name)
    return Counter({row[0]: row[1] for row in rows})


async def test_all_that_fit_are_paused_resumed_woken_and_terminated(house: House) -> None:
    app = house.app()

    @app.workflow
    async def flow(number: int) -> None:
        await sleep(timedelta(days=1))
        await go.wait()

    client = await house.client(app)
    await house.worker(app)
    mine = await client.start_many([flow.call(n) for n in range(250)], tags={"customer": "acme"})
    others = await client.start_many([flow.call(n) for n in range(5)])
    await house.parked(*[run.id for run in (*mine, *others)])
    chosen = client.runs(name="flow", tags={"customer": "acme"})

    tried = await chosen.pause(dry_run=True)
    assert (len(tried.runs), tried.effects, tried.dry_run, tried.more) == (250, {}, True, False)
    assert (await statuses(house))["paused"] == 0

    some = await chosen.pause(limit=120)
    assert (some.effects, some.more) == ({Effect.DONE: 120}, True)
    rest = await chosen.pause()
    assert rest.effects == {Effect.DONE: 130, Effect.NOTHING: 120}
    assert await statuses(house) == {"paused": 250, "waiting": 5}
    await house.check_invariants()

    assert (await chosen.resume()).effects == {Effect.DONE: 250}
    assert (await chosen.wake()).effects == {Effect.DONE: 250}
    await house.until("select count(*) = 250 from holdfast.journal where kind = 3")
    await house.parked(*[run.id for run in mine])
    assert (await chosen.terminate()).effects == {Effect.DONE: 250}
    assert (await chosen.terminate()).runs == []
    assert await statuses(house) == {"cancelled": 250, "waiting": 5}
    ended = await client.runs(name="flow", status=list(RunStatus)).cancel()
    assert ended.effects == {Effect.ENDED: 250, Effect.REQUESTED: 5}
    await house.check_invariants()


async def test_all_that_failed_are_tried_again_once(house: House) -> None:
    app = house.app()
    calls: Counter[int] = Counter()

    @app.activity(retry=Retry(max_attempts=1))
    async def work(number: int) -> int:
        calls[number] += 1
        if number % 2 and calls[number] == 1:
            raise Declined("odd")
        return number

    @app.workflow
    async def flow(number: int) -> int:
        return await work(number)

    client = await house.client(app)
    await house.worker(app)
    runs = await client.start_many([flow.call(n) for n in range(20)])
    await house.ended(*[run.id for run in runs])
    failed = client.runs(name="flow", status="failed")
    assert len((await failed.retry(dry_run=True)).runs) == 10
    tally = await failed.retry()
    assert (len(tally.runs), len(tally.made), tally.refused) == (10, 10, [])
    assert [await run.result(timeout=SOON) for run in runs] == list(range(20))
    # The old ones have failed for ever, and are not tried again.
    again = await failed.retry()
    assert (again.runs, again.made) == ([], [])

    back = await client.runs(name="flow", status="succeeded").rewind("work#1")
    assert len(back.made) == 20
    assert [await run.result(timeout=SOON) for run in runs] == list(range(20))
    refused = await client.runs(name="flow").fork("work#9", limit=3)
    assert (len(refused.refused), refused.more) == (3, True)
    assert "there is: work#1" in refused.refused[0].reason
    for bad in (failed.retry(limit=0), client.runs(status="odd").pause()):
        with pytest.raises(InvalidInput):
            await bad
    await house.check_invariants()
