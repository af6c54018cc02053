"""The rights that `holdfast db sql --roles` grants: enough for a client, a driver and a worker, and none too many."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from holdfast import AccessDenied, App, GiveUp, HoldfastError, Retry, RunStatus, Signal, sleep, start_child
from holdfast.core.queue import ConsumerState
from holdfast.embedded import EmbeddedPostgres
from holdfast.store.check import read_live_workers
from holdfast.store.connect import connect
from holdfast.store.migrate import migrate
from holdfast.store.roles import CLIENT, CONSUMER, DRIVER, Grant, roles_sql
from holdfast.store.session import Session
from holdfast.store.statements import Statements
from tests.house import QUICK, until

go = Signal[int]("go")


PARTS = ("client", "driver", "worker", "operator", "consumer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rooms:
    """A schema, the owner's connection to it, and the ways in for its roles."""

    schema: str
    owner: asyncpg.Connection[asyncpg.Record]
    client: str
    driver: str
    worker: str
    operator: str
    consumer: str


@pytest.fixture
async def rooms(server: EmbeddedPostgres, empty_dsn: str) -> AsyncIterator[Rooms]:
    """Roles belong to the whole server, so each test has a schema, and thereby roles, of its own."""
    schema = f"s{uuid.uuid4().hex[:12]}"
    owner = await connect(empty_dsn, application="tests")
    await migrate(Session(owner, Statements(schema)))
    # Twice: it can be applied again after an upgrade.
    await owner.execute(roles_sql(schema))
    await owner.execute(roles_sql(schema))
    database = str(await owner.fetchval("select current_database()"))
    for part in PARTS:
        await owner.execute(f"create role {schema}_{part}_user login password 'secret' in role {schema}_{part}")
    await owner.execute(f"grant {schema}_client to {schema}_operator_user")

    def way_in(part: str) -> str:
        return server.dsn_for(database, user=f"{schema}_{part}_user", password="secret")

    try:
        yield Rooms(schema=schema, owner=owner, **{part: way_in(part) for part in PARTS})
    finally:
        for role in (*PARTS, *(f"{part}_user" for part in PARTS)):
            await owner.execute(f"drop owned by {schema}_{role}; drop role {schema}_{role}")
        await owner.close()


def app_on(url: str, schema: str) -> App:
    return App(url, schema=schema, auto_setup=False)


async def use_everything_of_a_client(rooms: Rooms) -> None:
    """Every verb of a client, and every branch of them that needs a right of its own."""
    async with app_on(rooms.client, rooms.schema).client() as client:
        plain = await client.start_by_name("idle")
        keyed = await client.start_by_name("idle", key="once")
        again = await client.start_by_name("idle", key="once")
        assert again.id == keyed.id
        # The record of its run has gone, and so has its time.
        await rooms.owner.execute(
            f"insert into {rooms.schema}.start_key (name, key, run_id, at, until) "
            f"values ('idle', 'free', {rooms.schema}.uuid7(), clock_timestamp(), clock_timestamp())"
        )
        free = await client.start_by_name("idle", key="free")
        assert not free.existing
        await free.cancel()
        assert await plain.signal_by_name("go", 1, key="first")
        assert not await plain.signal_by_name("go", 1, key="first")
        assert len(await client.list()) == 3
        assert len(await client.list(status="failed")) == 0
        assert (await plain.describe()).inbox[0].name == "go"
        assert await plain.reschedule(lane="other", priority="high") == "done"
        await plain.cancel()
        assert await plain.status() is RunStatus.CANCELLED
        with pytest.raises(HoldfastError, match="was cancelled"):
            await plain.result()
        # Whose child ends is told.
        child = await client.start_by_name("idle")
        await rooms.owner.execute(
            f"update {rooms.schema}.run set parent = $2, root = $2, parent_key = 'idle#1' where id = $1",
            *(child.id, keyed.id),
        )
        await rooms.owner.execute(f"update {rooms.schema}.task set flags = 16 where run_id = $1", child.id)
        assert await child.cancel() == "cancelled"
        # A run that has begun is asked, not ended.
        await rooms.owner.execute(
            f"update {rooms.schema}.task set first_claim_at = clock_timestamp() where run_id = $1", keyed.id
        )
        assert await keyed.cancel() == "requested"
        assert await keyed.pause() == "done"
        assert await keyed.resume() == "done"
        assert await keyed.wake() == "nothing"
        child = await client.start_by_name("idle")
        await rooms.owner.execute(
            f"update {rooms.schema}.run set parent = $2, root = $2, parent_key = 'idle#2' where id = $1",
            *(child.id, keyed.id),
        )
        # With children, a blockage, heartbeats, and a permit, which is given back.
        await rooms.owner.execute(f"update {rooms.schema}.task set flags = flags | 3106 where run_id = $1", keyed.id)
        await rooms.owner.execute(f"insert into {rooms.schema}.permit values ('{keyed.id}', 'idle', 'a', true)")
        await rooms.owner.execute(f"insert into {rooms.schema}.limit_key values ('idle', 'a', 1, null, 1, now())")
        assert await keyed.terminate() == "done"
        assert not await rooms.owner.fetchval(f"select count(*) from {rooms.schema}.permit")
        await client.schedules.create("daily", "idle", "every day at 09:00")
        await client.schedules.update("daily", lane="other")
        await client.schedules.pause("daily")
        await client.schedules.resume("daily")
        await (await client.schedules.trigger("daily")).cancel()
        assert len(await client.schedules.preview(name="daily")) == 5
        await client.schedules.delete("daily")
        assert len(await client.schedules.list()) == 0
        await client.driven.create_workflow("by_hand")
        await (await client.driven.trigger("by_hand")).cancel()
        await rooms.owner.execute(
            f"select {rooms.schema}.register('w', 'nowhere', 1, 'default', '{{}}', '1 h', '{{default}}', '{{3}}')"
        )
        (answer,) = await client.workers.pause("w", wait=timedelta(0))
        assert answer.told
        assert [worker.asked for worker in await client.workers.list()] == ["pause"]
        assert len(await client.limits.list(name="nowhere")) == 0
        message = await client.queue("letters").send("hello", key="one")
        assert await client.get(message).cancel() == "cancelled"
        assert await client.queue("letters").consumers() == []
        assert (await client.queue("letters").metrics()).depth == 0
    connection = await connect(rooms.client, application="tests")
    try:
        await connection.execute(f"set search_path = {rooms.schema}")
        run = await connection.fetchval("select start('idle', '{\"a\": 1}', key => 'from sql')")
        assert await connection.fetchval("select signal($1, 'go', '1')", run)
        assert await connection.fetchval("select cancel($1)", run) == "cancelled"
        assert await connection.fetchval("select count(*) from runs") == 9
        # What `holdfast db check` shows.
        await read_live_workers(Session(connection, Statements(rooms.schema)))
    finally:
        await connection.close()


async def use_everything_of_a_driver(rooms: Rooms) -> None:
    """Every verb of a consumer of runs that are driven by hand."""
    async with app_on(rooms.driver, rooms.schema).client() as client:
        await client.driven.create_workflow("by_hand")
        triggered = await client.driven.trigger("by_hand", {"n": 1})
        async with client.driven.consumer("by_hand", visibility=timedelta(seconds=1)) as consumer:
            (run,) = await consumer.dequeue()
            await consumer._attendance._report(consumer.state, 1, 0)
            await (await run.acquire_step("first")).success(1)
            await (await run.acquire_step("second")).retry()
            (run,) = await consumer.dequeue()
            await run.pause("for a while")
            assert await triggered.resume() == "done"
            (run,) = await consumer.dequeue()
            # Paused by somebody else while it is in hand: its heartbeat, and giving it back, write that down.
            assert await triggered.pause() == "done"
            await until_true(rooms, "select due_at > clock_timestamp() from {}.pause")
            await run.release()
            assert await triggered.resume() == "done"
            (run,) = await consumer.dequeue(wait=timedelta(seconds=10))
            await run.complete()
        assert await triggered.result() is None
    await use_what_consumers_do_by_themselves(rooms, "driver", "default driven by_hand")


async def use_what_consumers_do_by_themselves(rooms: Rooms, part: str, line: str) -> None:
    """What they put up with where they cannot: raising floors, leaving."""
    # Without it floors stay where they are.
    await rooms.owner.execute(f"grant pg_read_all_stats to {rooms.schema}_{part}")
    connection = await connect(getattr(rooms, part), application="tests")
    try:
        await connection.execute(f"set search_path = {rooms.schema}")
        for _ in range(2):
            await connection.execute("select raise_floors(array[$1], '{3}')", line)
            await rooms.owner.execute(f"update {rooms.schema}.lane_floor set at = at - interval '1 hour'")
        registered = "select worker_id from register_consumer('c', 'h', 1, $1, '1 minute')"
        await connection.execute("select leave_consumer($1, 1, 0)", await connection.fetchval(registered, line))
    finally:
        await connection.close()


async def test_a_driver_can_do_all_that_a_driver_does(rooms: Rooms) -> None:
    await use_everything_of_a_driver(rooms)


@pytest.mark.parametrize("grant", DRIVER[len(CLIENT) :], ids=str)
async def test_a_driver_needs_each_of_its_rights(rooms: Rooms, grant: Grant) -> None:
    what = f"{grant.right} ({grant.column})" if grant.column else grant.right
    await rooms.owner.execute(f"revoke {what} on {rooms.schema}.{grant.table} from {rooms.schema}_driver")
    with pytest.raises((AccessDenied, asyncpg.InsufficientPrivilegeError)):
        await use_everything_of_a_driver(rooms)


@pytest.mark.parametrize(
    "statement",
    [
        "update {0}.task set bucket_id = 1",
        "update {0}.journal set seq = 0",
        "delete from {0}.journal",
        "insert into {0}.fence (worker_id, epoch) values (1, 1)",
    ],
)
async def test_a_driver_cannot_do_what_a_worker_does(rooms: Rooms, statement: str) -> None:
    connection = await connect(rooms.driver, application="tests")
    try:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(statement.format(rooms.schema))
    finally:
        await connection.close()


async def test_a_client_can_do_all_that_a_client_does(rooms: Rooms) -> None:
    await use_everything_of_a_client(rooms)


@pytest.mark.parametrize("grant", CLIENT, ids=str)
async def test_a_client_needs_each_of_its_rights(rooms: Rooms, grant: Grant) -> None:
    what = f"{grant.right} ({grant.column})" if grant.column else grant.right
    await rooms.owner.execute(f"revoke {what} on {rooms.schema}.{grant.table} from {rooms.schema}_client")
    with pytest.raises((AccessDenied, asyncpg.InsufficientPrivilegeError)):
        await use_everything_of_a_client(rooms)


async def test_an_operator_can_do_all_that_an_operator_does(rooms: Rooms) -> None:
    app = app_on(rooms.operator, rooms.schema)
    async with app_on(rooms.client, rooms.schema).client() as starter, app.client() as client:
        run = await starter.start_by_name("idle", key="mine")
        failed = await starter.start_by_name("idle")
        await failed.terminate()
        await rooms.owner.execute(
            f"insert into {rooms.schema}.journal (run_id, at, seq, hold, kind, key, output) "
            "values ($1, clock_timestamp(), 1, 1, 1, 'a#1', '1'), ($1, clock_timestamp(), 2, 1, 4, 'signal:go#1', '1')",
            run.id,
        )
        with pytest.raises(AccessDenied):
            await starter.get(failed.id).retry()
        for operator in (client.get(run.id), client.get(failed.id)):
            assert await operator.tag({"seen": "yes"}) == {"seen": "yes"}
        again = await client.get(failed.id).retry()
        await client.get(run.id).rewind("signal:go#1")
        await client.get(run.id).fork("a#1")
        await client.get(again.id).terminate()
        await client.get(run.id).terminate()
        assert await client.records.prune(timedelta(0)) == 4
        assert await client.records.prune(timedelta(0), keep_keys=timedelta(0)) == 0


@pytest.mark.parametrize(
    "statement",
    [
        "insert into {0}.journal (run_id, at, seq, hold, kind, key) values ({0}.uuid7(), now(), 1, 1, 1, 'a#1')",
        "update {0}.task set bucket_id = 1",
        "update {0}.result set status = 1",
        "delete from {0}.run",
        "insert into {0}.fence (worker_id, epoch) values (1, 1)",
        "update {0}.fence set epoch = 0",
        "create table {0}.mine ()",
    ],
)
async def test_a_client_cannot_do_what_a_worker_does(rooms: Rooms, statement: str) -> None:
    connection = await connect(rooms.client, application="tests")
    try:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(statement.format(rooms.schema))
    finally:
        await connection.close()


@pytest.mark.parametrize(
    "statement",
    [
        "update {0}.journal set seq = 0",
        "update {0}.run set lane = 'x'",
        "delete from {0}.result",
        "delete from {0}.run",
    ],
)
async def test_a_worker_rewrites_nothing(rooms: Rooms, statement: str) -> None:
    connection = await connect(rooms.worker, application="tests")
    try:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(statement.format(rooms.schema))
    finally:
        await connection.close()


async def test_a_worker_can_do_all_that_a_worker_does(rooms: Rooms, caplog: pytest.LogCaptureFixture) -> None:
    """Steps, retries, timers, children, signals, cancelling, blocking, recovery, schedules and leaving."""
    apps = App(), App()
    tried = list[int]()

    @apps[0].activity(retry=Retry(initial=timedelta(milliseconds=1)))
    def flaky() -> int:
        tried.append(1)
        if len(tried) < 2:
            raise ConnectionError("try again")
        return len(tried)

    @apps[0].activity
    def hopeless() -> None:
        raise GiveUp("no")

    @apps[0].workflow
    async def long_story() -> int:
        tries = await flaky()
        await sleep(timedelta(milliseconds=10))
        return tries + await go.wait() + await go.wait()

    @apps[0].workflow
    async def child(answer: int) -> int:
        return answer

    @apps[0].workflow
    async def family() -> int:
        nobodys = await start_child(child, 1, lane="nowhere")
        await nobodys.cancel()
        await asyncio.wait([asyncio.ensure_future(nobodys.result())])
        return await child(2)

    other = apps[1]

    @other.activity
    def other_step() -> None: ...

    @other.workflow(name="changing")
    async def changes() -> None:
        await other_step()

    @apps[0].schedule(every=timedelta(seconds=1), overlap="cancel_running")
    @apps[0].workflow
    async def by_the_clock() -> int:
        return await go.wait()

    for app in apps:
        app.override(origin="the test", database_url=rooms.worker, schema=rooms.schema)
    async with app_on(rooms.client, rooms.schema).client() as client:
        await dead_worker(rooms)
        async with apps[0].worker(**QUICK):
            story = await client.start_by_name("long_story")
            await story.signal_by_name("go", 10, key="with a key")
            await story.signal_by_name("go", 100)
            assert await story.result(timedelta(seconds=20)) == 112
            parked = await client.start_by_name("long_story")
            await until_true(rooms, "select status = 'waiting' from {}.runs where id = $1", parked.id)
            assert await parked.cancel() == "requested"
            with pytest.raises(HoldfastError, match="was cancelled"):
                await parked.result(timedelta(seconds=20))
            assert await (await client.start_by_name("family")).result(timedelta(seconds=20)) == 2
            await until_true(rooms, "select made >= 2 from {}.schedule")
            await client.schedules.pause("by_the_clock")
            job = await client.start_by_name("hopeless")
            with pytest.raises(HoldfastError, match="GiveUp"):
                await job.result(timedelta(seconds=20))
            await until_true(rooms, "select count(*) = 0 from {}.bucket where worker_id = 1")
        changing = await client.start_by_name("changing")
        await unfit_journal(rooms, changing.id)
        async with other.worker(**QUICK):
            await until_true(rooms, "select status = 'blocked' from {}.runs where id = $1", changing.id)
            await until_true(rooms, "select count(*) = 1 from {}.blockage")
    assert await rooms.owner.fetchval(f"select state from {rooms.schema}.worker where id = 1") == "lost"
    assert "permission denied" not in caplog.text
    assert "lacks a right" not in caplog.text


async def use_everything_of_a_consumer(rooms: Rooms) -> None:
    """Every verb of a consumer, and every branch of them that needs a right of its own."""
    async with app_on(rooms.client, rooms.schema).client() as client:
        sent = await client.queue("letters").send_many(range(5), keys=[str(number) for number in range(5)])
        for run in sent[:3]:
            await client.get(run).signal_by_name("go", 1)
    async with app_on(rooms.consumer, rooms.schema).client() as client:
        queue = client.queue("letters")
        acknowledged, archived, dead, released, extended = await queue.receive(wait=timedelta(0))
        await acknowledged.ack()
        await archived.archive("done")
        await dead.dead("bad")
        await released.release()
        await extended.extend(timedelta(minutes=1))
        async with queue.consume() as consumer:
            async for message in consumer:
                await consumer._attendance._report(ConsumerState.READY, 1, 0)
                await message.release()
                break
        await queue.dead_letters.redrive()
        await queue.pause()
        await queue.resume()
        await queue.purge()
    await use_what_consumers_do_by_themselves(rooms, "consumer", "letters queue")


async def test_a_consumer_can_do_all_that_a_consumer_does(rooms: Rooms) -> None:
    await use_everything_of_a_consumer(rooms)


@pytest.mark.parametrize("grant", CONSUMER, ids=str)
async def test_a_consumer_needs_each_of_its_rights(rooms: Rooms, grant: Grant) -> None:
    what = f"{grant.right} ({grant.column})" if grant.column else grant.right
    await rooms.owner.execute(f"revoke {what} on {rooms.schema}.{grant.table} from {rooms.schema}_consumer")
    with pytest.raises((AccessDenied, asyncpg.InsufficientPrivilegeError)):
        await use_everything_of_a_consumer(rooms)


@pytest.mark.parametrize(
    "statement",
    [
        "insert into {0}.run (id, kind, name, lane, priority, created_at) values ({0}.uuid7(), 3, 'a', 'a', 3, now())",
        "insert into {0}.journal (run_id, at, seq, hold, kind, key) values ({0}.uuid7(), now(), 1, 1, 1, 'a#1')",
        "update {0}.task set bucket_id = 1",
        "update {0}.result set status = 1",
        "delete from {0}.result",
    ],
)
async def test_a_consumer_cannot_do_what_others_do(rooms: Rooms, statement: str) -> None:
    connection = await connect(rooms.consumer, application="tests")
    try:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(statement.format(rooms.schema))
    finally:
        await connection.close()


async def dead_worker(rooms: Rooms) -> None:
    """A worker that has registered and is gone, with its lease over."""
    await rooms.owner.execute(
        f"select {rooms.schema}.register('gone', 'nowhere', 1, 'default', '{{}}', '1 s', '{{default}}', '{{3}}')"
    )
    await rooms.owner.execute(f"update {rooms.schema}.worker set lease_until = clock_timestamp()")


async def unfit_journal(rooms: Rooms, run: uuid.UUID) -> None:
    """As if a worker with other code had begun the run: a step with arguments that this code does not ask for."""
    await rooms.owner.execute(f"update {rooms.schema}.task set hold = 1 where run_id = $1", run)
    await rooms.owner.execute(
        f"insert into {rooms.schema}.journal (run_id, at, seq, hold, kind, key, digest) "
        "values ($1, clock_timestamp(), 1, 1, 1, 'other_step#1', '\\x00')",
        run,
    )


async def until_true(rooms: Rooms, query: str, *values: Any) -> None:
    async def look() -> Any:
        return await rooms.owner.fetchval(query.format(rooms.schema), *values)

    await until(look, query)
