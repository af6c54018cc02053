"""W18: transactional activities of workflows and jobs: effects, outcome and fence are one commit."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from holdfast import (
    ActivityTimedOut,
    App,
    Connection,
    DefinitionError,
    GiveUp,
    Retry,
    RunCancelled,
    RunFailed,
    Signal,
    TransactionEnded,
    activity_info,
    run_info,
    set_state,
)
from holdfast.app.hosted import HostedWorker
from tests.house import House, eventually, until

pytestmark = pytest.mark.usefixtures("accounts")

SOON = timedelta(seconds=20)
ONCE = Retry(max_attempts=1)
QUICKLY = Retry(initial=timedelta(milliseconds=10), max_attempts=20)

WAITS = """
select count(*) = $1
  from pg_stat_activity
 where datname = current_database()
   and application_name like 'holdfast transactions%'
   and wait_event_type = 'Lock'
"""


class TooPoor(Exception):
    pass


async def amounts(house: House) -> dict[str, int]:
    return {row["name"]: row["amount"] for row in await house.db.fetch("select * from account")}


async def notes(house: House) -> list[str]:
    return [row["text"] for row in await house.db.fetch("select text from note order by text")]


def holdings(worker: HostedWorker) -> dict[UUID, Any]:
    """The runs that it holds in memory."""
    tenure: Any = worker._worker
    found: dict[UUID, Any] = tenure._tenure._holdings.held
    return found


def bank(house: House) -> App:
    app = house.app()

    @app.activity(transactional=True, retry=ONCE)
    async def transfer(connection: Connection, amount: int) -> int:
        left: int = await connection.fetchval(
            "update account set amount = amount - $1 where name = 'ada' returning amount", amount
        )
        await connection.execute("update account set amount = amount + $1 where name = 'bob'", amount)
        if left < 0:
            raise TooPoor(left)
        return left

    @app.workflow
    async def pay(*, amount: int, times: int = 1) -> list[int]:
        return [await transfer(amount) for _ in range(times)]

    @app.workflow
    async def pay_if_rich(amount: int) -> str:
        try:
            await transfer(amount)
        except TooPoor as error:
            return f"too poor: {error.args[0]}"
        return "paid"

    return app


async def run(house: House, app: App, name: str, **values: object) -> object:
    client = await house.client(app)
    started = await client.start_by_name(name, values)
    return await started.result(timeout=SOON)


async def test_effects_and_outcome_of_a_step_are_one_commit(house: House) -> None:
    app = bank(house)
    await house.worker(app)
    assert await run(house, app, "pay", amount=10) == [90]
    assert await amounts(house) == {"ada": 90, "bob": 10}
    assert await house.value("select count(distinct xmin::text) = 1 from account")
    assert await house.value(
        "select j.xmin::text = a.xmin::text from holdfast.journal j, account a where j.key = 'transfer#1' limit 1"
    )
    await house.check_invariants()


async def test_effects_and_end_of_a_job_are_one_commit(house: House) -> None:
    app = bank(house)
    await house.worker(app)
    assert await run(house, app, "transfer", amount=30) == 70
    assert await house.value("select r.xmin::text = a.xmin::text from holdfast.result r, account a limit 1")
    assert await house.value("select count(*) from holdfast.task") == 0
    assert await house.value("select count(*) from holdfast.journal") == 0
    await house.check_invariants()


async def test_what_raises_leaves_no_effect_and_its_class_comes_out(house: House) -> None:
    app = bank(house)
    await house.worker(app)
    assert await run(house, app, "pay_if_rich", amount=101) == "too poor: -1"
    assert await amounts(house) == {"ada": 100, "bob": 0}
    with pytest.raises(RunFailed, match="TooPoor"):
        await run(house, app, "transfer", amount=101)
    assert await amounts(house) == {"ada": 100, "bob": 0}
    await house.check_invariants()


async def test_a_failed_attempt_is_rolled_back_and_the_next_one_begins_anew(house: House) -> None:
    app = house.app()

    @app.activity(transactional=True, retry=QUICKLY)
    async def third_time(connection: Connection) -> int:
        attempt = activity_info().attempt
        await connection.execute("insert into note values ($1)", f"attempt {attempt}")
        if attempt < 3:
            raise ConnectionError("not yet")
        return attempt

    @app.workflow
    async def patient() -> int:
        return await third_time()

    await house.worker(app)
    assert await run(house, app, "patient") == 3
    assert await run(house, app, "third_time") == 3
    assert await notes(house) == ["attempt 3", "attempt 3"]
    keys = await house.value("select array_agg(key order by seq) from holdfast.journal where key like 'third_time#1%'")
    assert keys == ["third_time#1@1", "third_time#1@1", "third_time#1@2", "third_time#1@2", "third_time#1"]
    await house.check_invariants()


@pytest.mark.parametrize("word", ["commit", "rollback", "commit; begin"])
async def test_an_activity_that_ends_its_transaction_itself_is_told_so_and_not_tried_again(
    house: House, word: str
) -> None:
    app = house.app()
    calls: list[int] = []

    @app.activity(transactional=True, retry=QUICKLY)
    async def impatient(connection: Connection) -> None:
        calls.append(1)
        await connection.execute("insert into note values ('first')")
        await connection.execute(word)
        await connection.execute("insert into note values ('second')")

    await house.worker(app)
    with pytest.raises(RunFailed, match=r"has ended its transaction by itself: .* use a savepoint") as failed:
        await run(house, app, "impatient")
    assert isinstance(failed.value.__cause__, TransactionEnded)
    assert calls == [1]
    assert await house.value("select status from holdfast.result") == 2
    await house.check_invariants()


async def test_an_error_that_was_passed_over_commits_nothing_and_is_explained(house: House) -> None:
    app = house.app()

    @app.activity(transactional=True, retry=ONCE)
    async def careless(connection: Connection) -> str:
        await connection.execute("insert into note values ('kept')")
        try:
            await connection.execute("insert into account values ('ada', 1)")
        except asyncpg.UniqueViolationError:
            return "she is there"
        return "she is new"

    @app.activity(transactional=True, retry=ONCE)
    async def careful(connection: Connection) -> str:
        await connection.execute("insert into note values ('kept')")
        try:
            async with connection.transaction():
                await connection.execute("insert into account values ('ada', 1)")
        except asyncpg.UniqueViolationError:
            return "she is there"
        return "she is new"

    await house.worker(app)
    with pytest.raises(RunFailed, match="passed over an error of a statement"):
        await run(house, app, "careless")
    assert await notes(house) == []
    assert await run(house, app, "careful") == "she is there"
    assert await notes(house) == ["kept"]


async def test_a_result_that_cannot_be_stored_takes_the_effects_with_it(house: House) -> None:
    app = house.app(payload_limit=1000)
    calls: list[int] = []

    @app.activity(transactional=True, retry=QUICKLY)
    async def odd(connection: Connection, what: str) -> object:
        calls.append(1)
        await connection.execute("insert into note values ($1)", what)
        return {"object": object(), "large": "x" * 2000}[what]

    await house.worker(app)
    for what in ("object", "large"):
        with pytest.raises(RunFailed) as failed:
            await run(house, app, "odd", what=what)
        assert failed.value.type_name == "holdfast.core.errors:Unstorable"
    assert len(calls) == 2
    assert await notes(house) == []


async def test_a_codec_is_applied_to_its_outcome(house: House) -> None:
    class Reversed:
        def encode(self, data: bytes) -> bytes:
            return data[::-1]

        def decode(self, data: bytes) -> bytes:
            return data[::-1]

    app = house.app(codec=Reversed())
    go = Signal[int]("go")

    @app.activity(transactional=True)
    async def secret(connection: Connection, word: str) -> str:
        await connection.execute("insert into note values ('done')")
        return word

    @app.workflow
    async def keeps(word: str) -> str:
        kept = await secret(word)
        await go.wait()
        return kept

    client = await house.client(app)
    await house.worker(app, cached_runs=0)
    started = await client.start(keeps, "sesame")
    await house.parked(started.id)
    assert "sesame" not in await house.value("select output::text from holdfast.journal where key = 'secret#1'")
    await started.signal(go, 1)
    assert await started.result(timeout=SOON) == "sesame"
    assert await (await client.start(secret, "open")).result(timeout=SOON) == "open"
    assert await notes(house) == ["done", "done"]


async def test_the_order_of_the_journal_is_the_order_seen(house: House) -> None:
    app = house.app()
    go = Signal[int]("go")
    seen: dict[UUID, list[list[str]]] = {}

    @app.activity(transactional=True)
    async def inside(connection: Connection, number: int) -> str:
        await connection.execute("insert into note values ($1)", str(number))
        await asyncio.sleep(0.001 * (number % 4))
        return f"inside {number}"

    @app.activity
    async def outside(number: int) -> str:
        await asyncio.sleep(0.001 * (number % 3))
        return f"outside {number}"

    @app.workflow
    async def mixed() -> list[str]:
        order: list[str] = []

        async def note(step: object) -> None:
            order.append(await step)  # type: ignore[misc]

        async with asyncio.TaskGroup() as group:
            for number in range(12):
                group.create_task(note(inside(number)))
                group.create_task(note(outside(number)))
        seen.setdefault(run_info().run_id, []).append(list(order))
        await go.wait()
        return order

    client = await house.client(app)
    await house.worker(app, cached_runs=0)
    runs = [await client.start(mixed) for _ in range(5)]
    await house.parked(*[one.id for one in runs])
    for one in runs:
        await one.signal(go, 1)
        result = await one.result(timeout=SOON)
        rows = await house.db.fetch(
            "select output #>> '{}' as text from holdfast.journal where run_id = $1 and kind = 1 order by seq", one.id
        )
        assert [row["text"] for row in rows] == result
        # Live it was the same as on the replay.
        assert seen[one.id] == [result, result]
    assert await house.value("select count(*) from note") == 60
    await house.check_invariants()


async def test_a_cancel_rolls_back_what_is_not_yet_being_committed(
    house: House, holder: asyncpg.Connection[asyncpg.Record]
) -> None:
    app = bank(house)
    client = await house.client(app)
    await house.worker(app)
    await holder.execute("begin; update account set amount = amount where name = 'bob'")
    flow = await client.start_by_name("pay", {"amount": 1})
    job = await client.start_by_name("transfer", {"amount": 1})
    await house.until(WAITS, 2)
    await flow.cancel()
    await job.cancel()
    await house.ended(flow.id, job.id)
    for one in (flow, job):
        with pytest.raises(RunCancelled):
            await one.result(timeout=SOON)
    await house.until(WAITS, 0)
    await holder.execute("rollback")
    assert await amounts(house) == {"ada": 100, "bob": 0}
    await house.check_invariants()


SLOW_COMMITS = """
create function hold_up() returns trigger language plpgsql
as $$ begin perform from account where name = 'ada' for update; return null; end $$;
create constraint trigger hold_up after insert on note deferrable initially deferred
  for each row execute function hold_up();
"""


async def test_a_cancel_during_the_commit_comes_after_it(
    house: House, holder: asyncpg.Connection[asyncpg.Record]
) -> None:
    await house.db.execute(SLOW_COMMITS)
    app = house.app()

    @app.activity(transactional=True)
    async def write(connection: Connection, text: str) -> str:
        await connection.execute("insert into note values ($1)", text)
        return text

    @app.workflow
    async def writes() -> str:
        text = await write("flow")
        await Signal[int]("never").wait()
        return text

    client = await house.client(app)
    await house.worker(app)
    await holder.execute("begin; select from account where name = 'ada' for update")
    flow = await client.start(writes)
    job = await client.start(write, "job")
    await house.until(WAITS, 2)
    await flow.cancel()
    # That of the job stands before the row that its commit has taken.
    cancelling = asyncio.ensure_future(job.cancel())
    await house.until("select flags & 4 <> 0 from holdfast.task where run_id = $1", flow.id)
    await holder.execute("rollback")
    assert await job.result(timeout=SOON) == "job"
    assert await cancelling == "ended"
    with pytest.raises(RunCancelled):
        await flow.result(timeout=SOON)
    assert await house.journal(flow.id) == ["write#1", "cancel#1"]
    assert await notes(house) == ["flow", "job"]
    await house.check_invariants()


async def test_an_attempt_that_takes_too_long_is_rolled_back(house: House) -> None:
    app = house.app()

    @app.activity(transactional=True, retry=ONCE, timeout=timedelta(milliseconds=100))
    async def slow(connection: Connection) -> None:
        await connection.execute("insert into note values ('slow')")
        await connection.execute("select pg_sleep(60)")

    @app.activity(transactional=True, retry=ONCE)
    async def slower(connection: Connection) -> None:
        await connection.execute("insert into note values ('slower')")
        await asyncio.sleep(60)

    await house.worker(app, lease=timedelta(seconds=1))
    with pytest.raises(RunFailed, match="took longer than") as failed:
        await run(house, app, "slow")
    assert isinstance(failed.value.__cause__, ActivityTimedOut)
    # Without a limit of its own, the lease is its limit.
    with pytest.raises(RunFailed, match=r"open for longer than 1 s, the lease of its worker; .* set timeout="):
        await run(house, app, "slower")
    assert await notes(house) == []
    assert await house.value(
        "select count(*) = 0 from pg_stat_activity where application_name like 'holdfast transactions%' "
        "and datname = current_database() and state <> 'idle'"
    )
    assert await house.value("select count(*) from holdfast.worker") == 1


async def test_one_may_take_longer_than_the_lease_of_a_living_worker(house: House) -> None:
    app = house.app()

    @app.activity(transactional=True, timeout=timedelta(seconds=30))
    async def long(connection: Connection) -> str:
        await connection.execute("insert into note values ('long')")
        await asyncio.sleep(2.5)
        return "done"

    await house.worker(app, lease=timedelta(seconds=1))
    assert await run(house, app, "long") == "done"
    assert await notes(house) == ["long"]
    assert await house.value("select count(*) from holdfast.worker") == 1


async def test_the_server_ends_a_transaction_whose_worker_does_not(house: House) -> None:
    app = house.app()
    found: dict[str, str] = {}

    @app.activity(transactional=True, timeout=timedelta(seconds=20))
    async def looks(connection: Connection) -> None:
        for name in ("idle_in_transaction_session_timeout", "transaction_timeout"):
            found[name] = await connection.fetchval("select current_setting($1, true)", name)

    await house.worker(app)
    await run(house, app, "looks")
    assert found["idle_in_transaction_session_timeout"] == "25s"
    version = await house.value("select current_setting('server_version_num')::int")
    assert found["transaction_timeout"] == ("25s" if version >= 170_000 else None)


@pytest.mark.parametrize("level", ["read committed", "repeatable read", "serializable"])
async def test_the_isolation_level_is_what_was_asked_for(house: House, level: str) -> None:
    app = house.app()

    @app.activity(transactional=True, isolation_level=level, retry=ONCE)  # type: ignore[call-overload, untyped-decorator]
    async def looks(connection: Connection) -> str:
        await connection.execute("insert into note values ('x')")
        return str(await connection.fetchval("show transaction_isolation"))

    @app.workflow
    async def flow() -> str:
        return await looks()  # type: ignore[no-any-return]

    await house.worker(app)
    assert await run(house, app, "looks") == level
    assert await run(house, app, "flow") == level
    assert await house.value("select count(*) from note") == 2


async def test_serialization_failures_are_attempts_by_the_policy(house: House) -> None:
    app = house.app()

    @app.activity(transactional=True, isolation_level="repeatable read", retry=QUICKLY)
    async def add(connection: Connection) -> int:
        amount: int = await connection.fetchval("select amount from account where name = 'bob'")
        await asyncio.sleep(0.02)
        await connection.execute("update account set amount = $1 where name = 'bob'", amount + 1)
        return activity_info().attempt

    @app.workflow
    async def four() -> list[int]:
        return await asyncio.gather(*[add() for _ in range(4)])

    await house.worker(app)
    assert await run(house, app, "four") != [1, 1, 1, 1]
    assert (await amounts(house))["bob"] == 4
    assert await house.value("select count(*) from holdfast.journal where kind = 2 and error::text like '%serialize%'")
    await house.check_invariants()


async def test_a_signal_to_its_run_does_not_disturb_one_of_a_higher_level(house: House) -> None:
    app = house.app()
    go = Signal[int]("go")

    @app.activity(transactional=True, isolation_level="serializable", retry=ONCE)
    async def reads(connection: Connection) -> int:
        amount: int = await connection.fetchval("select amount from account where name = 'ada'")
        await connection.execute("insert into note values ('here')")
        await house.db.execute("update account set amount = 0 where name = 'bob'")
        await client.get(activity_info().run_id).signal(go, 1)
        await house.until("select exists (select from holdfast.journal where kind = 4)")
        return amount

    @app.workflow
    async def flow() -> int:
        return await reads() + await go.wait()

    client = await house.client(app)
    await house.worker(app)
    assert await run(house, app, "flow") == 101


async def test_deadlocks_are_attempts_by_the_policy(house: House) -> None:
    app = house.app()

    @app.activity(transactional=True, retry=QUICKLY)
    async def both(connection: Connection, first: str, second: str) -> None:
        await connection.execute("set local deadlock_timeout = '20ms'")
        await connection.execute("update account set amount = amount + 1 where name = $1", first)
        await asyncio.sleep(0.05)
        await connection.execute("update account set amount = amount + 1 where name = $1", second)

    @app.workflow
    async def crosswise() -> None:
        await asyncio.gather(both("ada", "bob"), both("bob", "ada"))

    await house.worker(app)
    await run(house, app, "crosswise")
    assert await amounts(house) == {"ada": 102, "bob": 2}
    assert await house.value("select count(*) from holdfast.journal where kind = 2 and error::text like '%deadlock%'")


async def test_the_session_is_as_the_user_has_it_and_nothing_set_there_is_left_to_the_next(house: House) -> None:
    database = await house.value("select current_database()")
    await house.db.execute(f"create schema shop; alter database {database} set search_path = shop, public")
    app = house.app()

    @app.activity(transactional=True)
    async def looks(connection: Connection) -> list[str]:
        names = (
            "search_path",
            "enable_seqscan",
            "default_transaction_isolation",
            "idle_in_transaction_session_timeout",
        )
        found = [str(await connection.fetchval("select current_setting($1)", name)) for name in names]
        await connection.execute("set search_path = elsewhere; set enable_seqscan = off")
        await connection.execute("select pg_advisory_lock(4711)")
        return found[:3]

    await house.worker(app, max_transactions=1)
    for _ in range(3):
        assert await run(house, app, "looks") == ["shop, public", "on", "read committed"]
    await house.until("select count(*) = 0 from pg_locks where locktype = 'advisory' and objid = 4711")


async def test_no_more_connections_are_opened_than_it_says(house: House) -> None:
    app = house.app()
    at_once: list[int] = []
    most = 0

    @app.activity(transactional=True)
    async def crowd(connection: Connection, number: int) -> int:
        nonlocal most
        at_once.append(number)
        most = max(most, len(at_once))
        await connection.execute("select pg_sleep(0.01)")
        at_once.remove(number)
        return number

    @app.workflow
    async def many() -> int:
        return sum(await asyncio.gather(*[crowd(n) for n in range(30)]))

    await house.worker(app, max_transactions=3)
    assert await run(house, app, "many") == sum(range(30))
    assert most == 3
    assert await house.value(
        "select count(*) from pg_stat_activity where application_name like 'holdfast transactions%' "
        "and datname = current_database()"
    ) in {1, 2, 3}


async def test_a_run_that_is_started_in_it_is_there_with_its_outcome_or_not_at_all(house: House) -> None:
    app = house.app()

    @app.workflow
    async def follow_up(number: int) -> int:
        return number

    @app.activity(transactional=True, retry=Retry(max_attempts=2, initial=timedelta(milliseconds=10)))
    async def order(connection: Connection) -> str:
        await client.start(follow_up, activity_info().attempt, connection=connection)
        if activity_info().attempt == 1:
            raise ConnectionError
        return "ordered"

    client = await house.client(app)
    await house.worker(app)
    assert await run(house, app, "order") == "ordered"
    follower = await house.value("select id from holdfast.run where name = 'follow_up'")
    assert await client.get(follower, follow_up).result(timeout=SOON) == 2
    await house.check_invariants()


async def test_told_to_stop_a_worker_lets_it_end_within_the_grace_and_rolls_it_back_after(
    house: House, holder: asyncpg.Connection[asyncpg.Record]
) -> None:
    app = bank(house)
    client = await house.client(app)
    await holder.execute("begin; update account set amount = amount where name = 'bob'")
    worker = await house.worker(app, grace=timedelta(milliseconds=200))
    runs = [await client.start_by_name("pay", {"amount": 1}), await client.start_by_name("transfer", {"amount": 1})]
    await house.until(WAITS, 2)
    worker.stop()
    await house.until("select state = 'left' from holdfast.worker")
    await house.until(WAITS, 0)
    assert await house.value("select count(*) from holdfast.task where bucket_id is null") == 2
    assert await amounts(house) == {"ada": 100, "bob": 0}
    patient = await house.worker(app)
    await house.until(WAITS, 2)
    patient.stop()
    await holder.execute("rollback")
    await house.ended(*[one.id for one in runs])
    assert await amounts(house) == {"ada": 98, "bob": 2}
    await house.check_invariants()


async def test_a_database_that_is_away_is_waited_for_and_costs_no_attempt(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    app = house.app()

    @app.activity(transactional=True, retry=ONCE)
    async def write(connection: Connection) -> str:
        await connection.execute("insert into note values ('once')")
        return "written"

    await house.worker(app)
    assert await run(house, app, "write") == "written"
    caplog.set_level(logging.DEBUG, "holdfast.worker")
    # The connection that lies ready is dead, and is found to be so when it is needed.
    await house.db.execute(
        "select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'holdfast transactions%' "
        "and datname = current_database()"
    )
    assert await run(house, app, "write") == "written"
    assert await notes(house) == ["once", "once"]


async def test_outside_of_a_worker_it_says_what_to_do_instead(house: House) -> None:
    app = bank(house)
    transfer = app.definitions["transfer"]
    with pytest.raises(DefinitionError, match=r"only a worker can commit .* or call .fn with a connection"):
        await transfer(5)  # type: ignore[operator]
    async with house.db.transaction():
        assert await transfer.fn(house.db, 5) == 95
    assert await amounts(house) == {"ada": 95, "bob": 5}
    assert transfer.parameters.names == ("amount",)


async def test_many_runs_beside_each_other_do_all_of_it_once(house: House) -> None:
    app = bank(house)
    client = await house.client(app)
    await house.worker(app, max_transactions=8)
    await house.db.execute("update account set amount = 1000 where name = 'ada'")
    runs = await client.start_many([app.definitions["pay"].call(amount=1, times=5) for _ in range(40)])
    await house.ended(*[one.id for one in runs])
    assert await amounts(house) == {"ada": 800, "bob": 200}
    await house.check_invariants()


def test_giving_up_is_obeyed() -> None:
    assert QUICKLY.decide(TransactionEnded("x"), 1, 0.5) is None
    assert QUICKLY.decide(GiveUp("x"), 1, 0.5) is None


async def test_a_wait_that_is_over_before_its_commit_began_stops_it(house: House) -> None:
    app = house.app()
    started = asyncio.Event()

    @app.activity(transactional=True)
    async def slow(connection: Connection) -> str:
        await connection.execute("insert into note values ('slow')")
        started.set()
        await asyncio.sleep(60)
        return "slow"

    @app.workflow
    async def impatient() -> str:
        try:
            async with asyncio.timeout(0.05):
                return await slow()
        except TimeoutError:
            return "gave up"

    await house.worker(app)
    assert await run(house, app, "impatient") == "gave up"
    assert started.is_set()

    async def idle() -> bool:
        return bool(
            await house.value(
                "select count(*) = 0 from pg_stat_activity where application_name like 'holdfast transactions%' "
                "and datname = current_database() and state <> 'idle'"
            )
        )

    await until(idle, "it is rolled back")
    assert await notes(house) == []


async def test_what_it_tells_everybody_before_is_written_before(house: House) -> None:
    app = house.app()

    @app.activity(transactional=True)
    async def write(connection: Connection, text: str) -> str:
        await connection.execute("insert into note values ($1)", text)
        return text

    @app.workflow
    async def tells() -> str:
        for number in range(5):
            set_state("at", number)
            await write(str(number))
        set_state("at", "end")
        return await write("end")

    await house.worker(app)
    assert await run(house, app, "tells") == "end"
    kinds = await house.value("select array_agg(kind order by seq) from holdfast.journal")
    assert kinds == [8, 1] * 6
    await house.check_invariants()


async def test_paused_at_once_during_its_commit_it_is_not_done_again(
    house: House, holder: asyncpg.Connection[asyncpg.Record]
) -> None:
    await house.db.execute(SLOW_COMMITS)
    app = house.app()

    @app.activity(transactional=True)
    async def write(connection: Connection, text: str) -> str:
        await connection.execute("insert into note values ($1)", text)
        return text

    @app.workflow
    async def writes() -> list[str]:
        return [await write("first"), await write("second")]

    client = await house.client(app)
    held = holdings(await house.worker(app))
    await holder.execute("begin; select from account where name = 'ada' for update")
    flow = await client.start(writes)
    await house.until(WAITS, 1)
    await flow.pause(at_once=True)
    # Its holder has seen that, and waits for what became of the commit.
    await eventually(lambda: held[flow.id]._over, "it is about to be given back")
    looks = "select bucket_id is not null from holdfast.task where run_id = $1"
    assert await house.value(looks, flow.id)
    await holder.execute("rollback")
    await house.until("select bucket_id is null and flags & 1 <> 0 from holdfast.task where run_id = $1", flow.id)
    assert await house.journal(flow.id) == ["write#1"]
    await flow.resume()
    assert await flow.result(timeout=SOON) == ["first", "second"]
    assert await notes(house) == ["first", "second"]
    await house.check_invariants()


async def test_terminated_during_its_commit_it_ends_after_it(
    house: House, holder: asyncpg.Connection[asyncpg.Record]
) -> None:
    await house.db.execute(SLOW_COMMITS)
    app = house.app()

    @app.activity(transactional=True)
    async def write(connection: Connection, text: str) -> str:
        await connection.execute("insert into note values ($1)", text)
        return text

    @app.workflow
    async def writes() -> list[str]:
        return [await write("first"), await write("second")]

    client = await house.client(app)
    held = holdings(await house.worker(app))
    await holder.execute("begin; select from account where name = 'ada' for update")
    flow = await client.start(writes)
    await house.until(WAITS, 1)
    await flow.terminate()
    await eventually(lambda: held[flow.id]._over, "it is about to end")
    assert await house.value("select count(*) from holdfast.result") == 0
    await holder.execute("rollback")
    with pytest.raises(RunCancelled):
        await flow.result(timeout=SOON)
    assert await house.journal(flow.id) == ["write#1"]
    assert await notes(house) == ["first"]
    await house.check_invariants()
