"""Lists give every run that fits, once, newest first, a page at a time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from holdfast.client import Client, Page, RunSummary
from holdfast.core.errors import InvalidInput
from holdfast.core.failure import Failure
from holdfast.core.ids import uuid7
from holdfast.core.states import Ending, Flag, RunKind, RunStatus
from holdfast.store.session import Session
from holdfast.store.starts import Manner, Start, start_plain
from holdfast.store.statements import Statements
from tests.client.shop import Connection, charge, client_of, end, nothing, park

NOON = datetime(2030, 5, 1, 12, tzinfo=UTC)


async def one_of_each(client: Client, db: Connection) -> dict[RunStatus, UUID]:
    """A run in every status."""
    handles = await client.start_many([nothing.call()] * len(RunStatus))
    runs = {status: handle.id for status, handle in zip(RunStatus, handles, strict=True)}
    worker = await db.fetchval(
        """
        insert into holdfast.worker (name, host, pid, lane, names, lease, lease_until, started_at)
        values ('w-1', 'here', 1, 'default', '{}', '1 h', clock_timestamp() + interval '1 h', clock_timestamp())
        returning id
        """
    )
    bucket = await db.fetchval(
        "insert into holdfast.bucket (worker_id, lane, priority, created_at) "
        "values ($1, 'default', 3, clock_timestamp()) returning id",
        worker,
    )
    await park(db, runs[RunStatus.RUNNING], bucket=bucket)
    await park(db, runs[RunStatus.ASSIGNED], bucket=bucket)
    await db.execute(
        "update holdfast.task set due_at = 'infinity', first_claim_at = 'infinity' where run_id = $1",
        runs[RunStatus.ASSIGNED],
    )
    await park(db, runs[RunStatus.WAITING])
    await park(db, runs[RunStatus.PAUSED], flags=Flag.PAUSED)
    await park(db, runs[RunStatus.BLOCKED], flags=Flag.BLOCKED)
    await db.execute("update holdfast.task set due_at = '2100-01-01' where run_id = $1", runs[RunStatus.SCHEDULED])
    await end(db, runs[RunStatus.FAILED], Ending.FAILED, failure=Failure(type="a:B", message="c"))
    await end(db, runs[RunStatus.CANCELLED], Ending.CANCELLED)
    await end(db, runs[RunStatus.CONTINUED], Ending.CONTINUED)
    await end(db, runs[RunStatus.SUCCEEDED], output="1")
    return runs


async def test_each_status_finds_its_runs(client: Client, db: Connection) -> None:
    runs = await one_of_each(client, db)
    for status, run_id in runs.items():
        page = await client.list(status=status)
        assert [run.id for run in page] == [run_id], status
        assert [run.status for run in page] == [status]
        assert await client.get(run_id).status() is status
    everything = [run.id for run in await client.list()]
    assert everything == sorted(runs.values(), reverse=True)


@pytest.mark.parametrize(
    "statuses",
    [
        [RunStatus.RUNNING, RunStatus.ASSIGNED],
        [RunStatus.READY, RunStatus.BLOCKED, RunStatus.WAITING],
        [RunStatus.FAILED, RunStatus.CANCELLED],
        [RunStatus.SUCCEEDED, RunStatus.FAILED],
        [RunStatus.FAILED, RunStatus.WAITING, RunStatus.SUCCEEDED],
        list(RunStatus),
    ],
)
async def test_several_statuses_find_the_runs_of_each(
    client: Client, db: Connection, statuses: list[RunStatus]
) -> None:
    runs = await one_of_each(client, db)
    wanted = {runs[status] for status in statuses}
    assert {run.id for run in await client.list(status=statuses)} == wanted
    assert {run.id for run in await client.list(status=iter(map(str, statuses)))} == wanted
    pages = await _pages(client, status=statuses, limit=1)
    assert {run.id for run in pages} == wanted
    assert len(pages) == len(wanted)


async def test_pages_follow_on_each_other(client: Client) -> None:
    handles = await client.start_many([charge.call(n) for n in range(25)])
    runs = await _pages(client, limit=10)
    assert [run.id for run in runs] == [handle.id for handle in handles][::-1]
    first = await client.list(limit=25)
    assert first.next is None
    assert len(first) == 25


async def test_failed_runs_come_in_the_order_of_their_ends(client: Client, db: Connection) -> None:
    handles = await client.start_many([nothing.call()] * 9)
    ids = [handle.id for handle in handles]
    # Some end in the same commit, so at the same time.
    for run_id in (ids[4], ids[0], ids[8]):
        await end(db, run_id, Ending.CANCELLED)
    await db.execute(
        "with ended as (delete from holdfast.task returning run_id) "
        "insert into holdfast.result (run_id, at, status) select run_id, '2020-01-01', 2 from ended"
    )
    rest = sorted(set(ids) - {ids[4], ids[0], ids[8]}, reverse=True)
    runs = await _pages(client, status=["failed", "cancelled"], limit=2)
    assert [run.id for run in runs] == [ids[8], ids[0], ids[4], *rest]


async def test_filters_are_all_to_be_fitted(client: Client) -> None:
    a = await client.start(nothing, lane="mail", tags={"customer": "42", "plan": "pro"})
    b = await client.start(charge, 1, lane="mail", tags={"customer": "42"})
    c = await client.start(charge, 1, tags={"customer": "7"})
    d = await client.start(nothing, after=timedelta(hours=1))

    async def found(**filters: Any) -> set[UUID]:
        return {run.id for run in await client.list(**filters)}

    assert await found(name="charge") == {b.id, c.id}
    assert await found(lane="mail") == {a.id, b.id}
    assert await found(tags={"customer": "42"}) == {a.id, b.id}
    assert await found(tags={"customer": "42", "plan": "pro"}) == {a.id}
    assert await found(name="charge", lane="mail", tags={"customer": "42"}) == {b.id}
    assert await found(name="nothing", status="scheduled") == {d.id}
    assert await found(lane="mail", status=["ready", "failed"], tags={"plan": "pro"}) == {a.id}
    assert await found(name="unknown") == set()
    for handle in (a, b, c, d):
        await handle.cancel()
    assert await found(name="charge", status="cancelled") == {b.id, c.id}
    assert await found(lane="mail", status=["succeeded", "cancelled"]) == {a.id, b.id}
    assert await found(tags={"customer": "7"}, status="cancelled") == {c.id}


async def test_a_range_of_time_is_a_range_of_ids(client: Client, db: Connection) -> None:
    manner = Manner(1, "flow", "default", 3, None, None, None, None)
    moments = [NOON + timedelta(minutes=n) for n in range(10)]
    ids = [uuid7(int(moment.timestamp() * 1000), 0, 1) for moment in moments]
    await start_plain(
        Session(db, Statements()), [Start(run_id, "{}", manner, None, None) for run_id in ids], hint=False
    )
    page = await client.list(since=moments[2], until=moments[5])
    assert [run.id for run in page] == [ids[4], ids[3], ids[2]]
    assert [run.id for run in await _pages(client, since=moments[7], limit=1)] == ids[:6:-1]
    await db.execute(
        "with ended as (delete from holdfast.task returning run_id) "
        "insert into holdfast.result (run_id, at, status) select run_id, holdfast.now(), 2 from ended"
    )
    failed = await _pages(client, since=moments[2], until=moments[5], status="failed", limit=1)
    assert [run.id for run in failed] == [ids[4], ids[3], ids[2]]


async def test_a_summary_says_what_people_ask_for(client: Client, db: Connection) -> None:
    runs = await one_of_each(client, db)
    running = next(run for run in await client.list() if run.id == runs[RunStatus.RUNNING])
    assert isinstance(running, RunSummary)
    assert (running.kind, running.name, running.lane, running.priority) == (
        RunKind.WORKFLOW,
        "nothing",
        "default",
        "medium",
    )
    assert running.worker == "w-1"
    assert running.first_claim_at is not None
    waiting = (await client.list(status="waiting")).items[0]
    assert (waiting.due_at, waiting.worker, waiting.tags) == (None, None, {})
    failed = (await client.list(status="failed")).items[0]
    assert failed.ended_at is not None
    assert failed.due_at is None


@pytest.mark.parametrize(
    ("filters", "said"),
    [
        ({"status": "lost"}, "status 'lost' is not one of scheduled, ready"),
        ({"limit": 0}, "limit is 0: use 1 to 1000"),
        ({"limit": 1001}, "limit is 1001"),
        ({"since": datetime(2030, 1, 1)}, "since is .* without a time zone"),  # noqa: DTZ001 - that is the mistake
        ({"after": "nonsense"}, "after is 'nonsense': use the `next` of a page with the same filters"),
        ({"after": "nonsense", "status": "failed"}, "after is"),
        ({"after": "0197b2f0-7c3e-7a41-9d5c-2f6b8e1d4a90", "status": "failed"}, "after is"),
        ({"after": "2030-01-01T00:00:00+00:00~0197b2f0-7c3e-7a41-9d5c-2f6b8e1d4a90"}, "after is"),
    ],
)
async def test_a_filter_that_cannot_be_used_is_refused(client: Client, filters: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        await client.list(**filters)


async def test_a_page_costs_what_is_on_it(dsn: str, db: Connection) -> None:
    await _fill(db, 20_000)
    walks: dict[str, dict[str, object]] = {
        "list_all": {},
        "list_open": {"statuses": ["waiting"]},
        "list_held": {"statuses": ["running", "assigned"]},
        "list_blocked": {"statuses": ["blocked"]},
        "list_ended": {"endings": [1]},
        "list_unhappy": {
            "endings": [2, 3],
            "ended_before": datetime(2040, 1, 1, tzinfo=UTC),
            "last_id": UUID(int=(1 << 128) - 1),
        },
    }
    statements = Statements()
    for name, more in walks.items():
        statement = statements[name]
        values = statement.bind(
            {
                "from_id": UUID(int=0),
                "to_id": UUID(int=(1 << 128) - 1),
                "name": None,
                "version": None,
                "lane": None,
                "kind": None,
                "tags": None,
                "count": 20,
                **more,
            }
        )
        plan = await db.fetch("explain (analyze, buffers, timing off, summary off) " + statement.text, *values)
        text = "\n".join(row[0] for row in plan)
        blocks = _hits(plan)
        assert blocks < 600, f"{name} touches {blocks} blocks:\n{text}"
    async with client_of(dsn) as client:
        assert len(await client.list(status="blocked")) == 2


def _hits(plan: list[asyncpg.Record]) -> int:
    line = next(row[0] for row in plan if "Buffers: shared" in row[0])
    return sum(int(part.partition("=")[2]) for part in line.split() if part.startswith(("hit=", "read=")))


async def _fill(db: Connection, size: int) -> None:
    """So many runs: the older half has ended, one in a hundred unhappily; of the others a few are blocked or held."""
    await db.execute(
        f"""
        create temp table filling as
        select (lpad(to_hex(n), 12, '0') || '7000' || '8000' || lpad(to_hex(n), 12, '0'))::uuid as id, n
          from generate_series(1, {size}) n;
        insert into holdfast.run (id, kind, name, lane, priority, input, created_at)
        select id, 1, 'flow', 'default', 3, '{{}}', timestamptz '2026-01-01' + n * interval '1 s' from filling;
        insert into holdfast.result (run_id, at, status)
        select id, timestamptz '2026-01-02' + n * interval '1 s', case when n % 100 = 0 then 2 else 1 end
          from filling where n <= {size} / 2;
        insert into holdfast.task (run_id, name, lane, priority, due_at, first_claim_at, flags, bucket_id)
        select id, 'flow', 'default', 3, 'infinity', holdfast.now(), case when n % 5000 = 0 then 2 else 0 end,
               case when n % 5000 = 1 then 1 end
          from filling where n > {size} / 2;
        insert into holdfast.blockage (run_id, reason, at)
        select run_id, 'changed', holdfast.now() from holdfast.task where flags = 2;
        analyze holdfast.run, holdfast.result, holdfast.task, holdfast.blockage;
        """
    )


async def _pages(client: Client, **filters: Any) -> list[RunSummary]:
    """All pages, one after the other."""
    runs: list[RunSummary] = []
    page: Page[RunSummary] = await client.list(**filters)
    runs += page
    while page.next is not None:
        page = await client.list(**filters, after=page.next)
        assert len(page) > 0
        runs += page
    return runs
