"""``holdfast limit``: how much of limits is taken, and who waits, from the command line."""

from __future__ import annotations

import asyncio

from holdfast import Limit
from tests.cli.conftest import Holdfast
from tests.house import House
from tests.scenarios.soon import SOON


async def test_limits_are_listed_with_their_holders_and_who_waits(holdfast: Holdfast, house: House) -> None:
    assert (await holdfast("limit", "list")).out.strip() == "no limits are in use"
    app = house.app()
    opened = asyncio.Event()

    @app.activity(concurrency=[Limit(5, name="all"), Limit(1, per="customer")])
    async def serve(customer: str) -> None:
        await opened.wait()

    client = await house.client(app)
    await house.worker(app)
    first = await client.start(serve, "acme")
    await house.held(first.id)
    others = [await client.start(serve, "acme") for _ in range(2)]
    await house.until("select count(*) = 2 from holdfast.permit_wait")
    listed = (await holdfast("limit", "list", "--json")).json["limits"]
    keys = ("name", "kind", "key", "most", "taken", "leased", "waiting", "holders")
    assert [[one[key] for key in keys] for one in listed] == [
        ["all", "limit", "", 5, 1, 0, 0, [str(first.id)]],
        ["serve/customer", "limit", "acme", 1, 1, 0, 2, [str(first.id)]],
    ]
    assert listed[1]["since"] is not None
    assert listed[1]["opens_at"] is not None
    lines = (await holdfast("limit", "list", "serve/customer")).out.splitlines()
    assert len(lines) == 2
    assert lines[1].split()[:6] == ["serve/customer", "limit", "acme", "1", "of", "1"]
    noted = await holdfast("limit", "list", "--limit", "1")
    assert "there may be more" in noted.err
    assert (await holdfast("limit", "list", "--limit", "0")).code == 2
    opened.set()
    for run in (first, *others):
        await run.result(timeout=SOON)
