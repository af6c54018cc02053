"""Operating runs, their tags and their records: each type is the one written here."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, assert_type
from uuid import UUID

from holdfast import (
    App,
    BlockingClient,
    BlockingRunHandle,
    Client,
    Effect,
    Reason,
    Records,
    RunExport,
    RunHandle,
    Tally,
    Why,
)
from holdfast.app.staff import HostedWorkers

app = App()


@app.workflow
async def buy(order: int) -> str:
    return f"order {order}"


worker = app.worker(keep={"succeeded": timedelta(days=30)}, keep_keys=timedelta(days=60))
lanes = app.workers("orders", "reports", lease=timedelta(seconds=30), buckets={"critical": 2})
assert_type(lanes, HostedWorkers)
assert_type([one.settings.lane for one in lanes], list[str])
assert_type(len(app.workers()), int)


async def serve() -> None:
    async with app.workers("orders") as opened:
        assert_type(opened, HostedWorkers)
        opened.stop()
    assert_type(await app.workers("orders").run(), None)


async def workers(client: Client) -> None:
    for one in await client.workers.list(lane="orders"):
        assert_type(one.overflowed, int)
        assert_type([bucket.overflowed for bucket in one.buckets], list[int])


async def one(run: RunHandle[str]) -> None:
    assert_type(await run.pause(at_once=True), Effect)
    assert_type(await run.resume(), Effect)
    assert_type(await run.wake(), Effect)
    assert_type(await run.terminate(), Effect)
    assert_type(await run.retry(timeout=timedelta(hours=1)), RunHandle[str])
    assert_type(await run.rewind("charge#1"), RunHandle[str])
    assert_type(await run.fork("charge#1", input={"order": 18}), RunHandle[str])
    assert_type(await run.newest(), RunHandle[str])
    assert_type(await run.tag({"customer": "acme"}, remove=["new"]), dict[str, str])
    assert_type(await run.export(), RunExport)
    why = await run.why()
    assert_type(why, Why)
    assert_type(why.reasons, Sequence[Reason])
    assert_type(why.reasons[0].remedy, str | None)


async def many(client: Client, run_id: UUID) -> None:
    runs = client.runs(name="buy", status=["failed"], tags={"customer": "acme"}, parent=run_id, root=str(run_id))
    assert_type(await runs.pause(), Tally)
    assert_type(await runs.retry(limit=5, dry_run=True), Tally)
    assert_type(await runs.rewind("charge#1"), Tally)
    assert_type(await runs.fork(), Tally)
    assert_type(await runs.tag({"seen": "yes"}, remove="new"), Tally)
    assert_type(await runs.export(limit=10), list[RunExport])
    assert_type((await runs.cancel()).made, Sequence[UUID])
    assert_type(client.records, Records)
    assert_type(await client.records.prune(timedelta(days=30), status="failed", keep_keys=timedelta(0)), int)


def blocking(client: BlockingClient, run: BlockingRunHandle[str]) -> None:
    assert_type(run.tag({"customer": "acme"}), dict[str, str])
    assert_type(run.why(), Why)
    assert_type(run.fork(), BlockingRunHandle[str])
    assert_type(client.runs(root=run.id).terminate(dry_run=True), Tally)
    assert_type(client.runs(name="buy").export(), list[RunExport])
    assert_type(client.records.prune(timedelta(days=30), dry_run=True), int)
    assert_type(client.get(run.id).export(), RunExport)
    assert_type(client.get(run.id), BlockingRunHandle[Any])
