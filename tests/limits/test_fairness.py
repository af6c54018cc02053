"""Runs of many keys in one lane take turns: what one has in line does not delay another by more than its share."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from holdfast import App, DefinitionError, Limit
from tests.house import House, eventually
from tests.scenarios.soon import SOON


async def test_with_workers_one_job_of_a_tenant_passes_the_backlog_of_another(house: House) -> None:
    app = house.app()
    order: list[str] = []

    @app.activity(fair="tenant")
    async def serve(tenant: str, number: int) -> int:
        order.append(tenant)
        await asyncio.sleep(0)
        return number

    @app.activity
    async def other(number: int) -> int:
        return number

    client = await house.client(app)
    flood = await client.start_many([serve.call("a", n) for n in range(800)])
    few = [await client.start(serve, tenant, 0) for tenant in "bcd"]
    beside = await client.start(other, 5)
    for _ in range(2):
        await house.worker(app)
    for run in few:
        assert await run.result(timeout=SOON) == 0
    assert await beside.result(timeout=SOON) == 5
    await house.ended(*[run.id for run in flood])
    assert max(order.index(tenant) for tenant in "bcd") < 200
    assert Counter(order) == {"a": 800, "b": 1, "c": 1, "d": 1}
    await house.check_invariants()


async def test_it_is_said_who_waits_for_a_turn(house: House) -> None:
    app = house.app()
    opened = asyncio.Event()
    running: list[int] = []

    @app.activity(fair="tenant")
    async def serve(tenant: str, number: int) -> int:
        running.append(number)
        await opened.wait()
        return number

    client = await house.client(app)
    runs = await client.start_many([serve.call("a", n) for n in range(40)])
    await house.worker(app)
    await eventually(lambda: len(running) >= 4, "the slots are taken")
    await house.until("select exists (select from holdfast.permit_wait)")
    (state,) = await client.limits.list()
    assert (state.kind, state.name, state.key) == ("fair", "serve/tenant", "a")
    assert state.waiting > 0
    (reason,) = (await client.why(runs[-1].id)).reasons
    assert reason.text.startswith("waits for its turn among those of 'serve/tenant', key 'a'")
    opened.set()
    await house.ended(*[run.id for run in runs])
    await house.check_invariants()


@pytest.mark.parametrize("fair", ["nobody", "tenant.", 5, ""])
def test_what_is_no_key_is_refused(fair: Any) -> None:
    with pytest.raises(DefinitionError, match=r"fair="):

        @App().activity(fair=fair)
        async def serve(tenant: str) -> None: ...


def test_turns_are_asked_for_last() -> None:
    @App().activity(fair="tenant", concurrency=[Limit(5), Limit(2, per="tenant")])
    async def serve(tenant: str) -> None: ...

    assert [ticket.name for ticket in serve.tickets] == ["serve/tenant", "serve", "fair serve/tenant"]
