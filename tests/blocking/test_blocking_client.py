"""The blocking client: the verbs of the async one, from scripts, threads and forked processes."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TypeVar

import asyncpg
import pytest

from holdfast import (
    App,
    BlockingClient,
    DatabaseUnavailable,
    ForbiddenInWorkflow,
    HoldfastError,
    InvalidInput,
    Key,
    KeyTaken,
    ResultTimeout,
    Retry,
    RunCancelled,
    RunEnded,
    RunFailed,
    RunNotFound,
    RunStatus,
    StepStatus,
)
from holdfast.testing import Databases, open_env
from tests.blocking import till
from tests.house import ROOT, House

R = TypeVar("R")
SOON = timedelta(seconds=20)


@pytest.fixture
def shop(dsn: str) -> Iterator[App]:
    with till.app.overridden(origin="the test", database_url=dsn, auto_setup=True):
        yield till.app


@pytest.fixture
def client(shop: App) -> Iterator[BlockingClient]:
    """Used in threads: these tests have a loop of their own, beside which a worker works."""
    client = shop.blocking_client(application="blocking test")
    yield client
    client.close()


async def beside(code: Callable[[], R]) -> R:
    """Runs blocking code in a thread, while the loop of the test goes on."""
    return await asyncio.to_thread(code)


async def test_a_run_from_its_start_to_its_result(client: BlockingClient, shop: App, house: House) -> None:
    await house.worker(shop)

    def script() -> None:
        run = client.start(till.quadruple, 5, key="five")
        assert run.result(timeout=SOON) == 20
        assert run.status() is RunStatus.SUCCEEDED
        again = client.start(till.quadruple, 5, key="five")
        assert (again.id, again.existing, run.existing) == (run.id, True, False)
        assert [step.key for step in run.describe().journal] == ["double#1", "double#2"]
        assert client.get(run.id, till.quadruple).result() == 20
        assert client.get(str(run.id)).result() == 20
        many = client.start_many([till.quadruple.call(n) for n in range(20)])
        assert [one.result(SOON) for one in many] == [4 * n for n in range(20)]
        assert client.start_by_name("double", {"number": 4}).result() == 8
        assert {one.name for one in client.list()} == {"quadruple", "double"}

    await beside(script)


async def test_signals_cancel_and_errors(client: BlockingClient, shop: App, house: House) -> None:
    await house.worker(shop)

    def script() -> None:
        run = client.start(till.wait_for_payment, 5)
        with pytest.raises(ResultTimeout):
            run.result(timeout=timedelta(0))
        assert run.signal(till.pay, 3, key="once") is True
        assert run.signal_by_name("pay", 3, key="once") is False
        assert run.result(SOON) == 8
        failed = client.start(till.declined, 5)
        with pytest.raises(RunFailed, match="Declined") as caught:
            failed.result(SOON)
        assert isinstance(caught.value.__cause__, till.Declined)
        resting = client.start(till.rest)
        resting.cancel()
        with pytest.raises(RunCancelled):
            resting.result(SOON)
        with pytest.raises(InvalidInput):
            client.start(till.quadruple, "five")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
        with pytest.raises(RunNotFound):
            client.get("0197b2f0-7c3e-7a41-9d5c-2f6b8e1d4a90").status()

    await beside(script)


async def test_jobs_are_moved_replaced_and_watched(client: BlockingClient, shop: App, house: House) -> None:
    await house.worker(shop)

    def script() -> None:
        later = client.start(till.double, 4, after=timedelta(hours=1))
        assert later.reschedule(after=timedelta(0), priority="high") == "done"
        assert later.result(SOON) == 8
        key = Key("count", window="open")
        old = client.start(till.counts, 500, key=key)
        assert client.start(till.counts, 500, key=key).existing
        with pytest.raises(KeyTaken):
            client.start(till.counts, 500, key=Key("count", taken="reject"))
        new = client.start(
            till.counts, 2, key=Key("count", window="open", taken="replace"), retry=Retry(max_attempts=1)
        )
        with pytest.raises(RunCancelled):
            old.result(SOON)
        seen = [progress.message for progress in new.watch_progress()]
        assert seen[-1:] == ["2 of 2"]
        assert new.result(SOON) == 2
        assert new.progress() is None
        assert new.next_progress() is None
        assert list(new.attempts()) == []
        assert {one.name for one in client.list(kind="job")} == {"double", "counts"}
        assert client.runs(kind="job").reschedule(lane="elsewhere").runs == []
        child = client.start(till.double, 4, after=timedelta(hours=1))
        assert client.runs(root=child.id).cancel().runs == []

    await beside(script)


async def test_schedules(client: BlockingClient) -> None:
    def script() -> None:
        made = client.schedules.create("nightly", till.quadruple.call(5), "0 18 * * mon-fri", tz="Europe/Paris")
        assert client.schedules.get("nightly") == made
        assert [one.name for one in client.schedules.list()] == ["nightly"]
        run = client.schedules.trigger("nightly")
        assert run.status() is RunStatus.READY
        client.schedules.delete("nightly")

    await beside(script)


async def test_one_client_serves_many_threads(client: BlockingClient, shop: App, house: House) -> None:
    await house.worker(shop)

    def one(number: int) -> int:
        return client.start(till.quadruple, number).result(SOON)

    def script() -> list[int]:
        with ThreadPoolExecutor(16) as threads:
            return list(threads.map(one, range(64)))

    assert await beside(script) == [4 * n for n in range(64)]
    connections = await house.value("select count(*) from pg_stat_activity where application_name = 'blocking test'")
    assert connections <= 8  # the pool, and those that hear and send hints


async def test_it_connects_when_it_is_first_used(shop: App, house: House) -> None:
    there = "select count(*) from pg_stat_activity where application_name = 'lazy'"
    before = threading.active_count()
    client = shop.blocking_client(application="lazy")
    run = client.get("0197b2f0-7c3e-7a41-9d5c-2f6b8e1d4a90")
    assert (threading.active_count(), await house.value(there)) == (before, 0)
    with pytest.raises(RunNotFound):
        await beside(run.status)
    assert await house.value(there) >= 1
    await beside(client.close)
    assert await house.value(there) == 0


async def test_closed_is_closed(shop: App) -> None:
    def script() -> None:
        with shop.blocking_client() as client:
            run = client.start(till.rest)
        client.close()
        for call in (run.status, client.list):
            with pytest.raises(HoldfastError, match="this blocking client is closed"):
                call()

    before = threading.active_count()
    await beside(script)
    assert threading.active_count() <= before + 1  # the thread of this test's own


async def test_closing_ends_what_other_threads_wait_for(shop: App, house: House) -> None:
    client = shop.blocking_client()
    run = await beside(lambda: client.start(till.rest))
    waiting = asyncio.create_task(beside(run.result))
    await house.until("select count(*) > 0 from pg_stat_activity where query ilike 'listen%'")
    await beside(client.close)
    with pytest.raises(HoldfastError, match="is closed"):
        await waiting


async def test_on_a_running_loop_it_says_what_to_use_instead(client: BlockingClient) -> None:
    with pytest.raises(
        HoldfastError, match=r"running event loop, which it would block: use `async with app.client\(\)"
    ):
        client.list()
    with pytest.raises(HoldfastError, match="running event loop"):
        client.__enter__()
    # In a thread beside it all is well.
    assert len(await beside(client.list)) == 0


async def test_in_workflow_code_it_is_refused_and_in_a_sync_activity_it_works(
    client: BlockingClient, shop: App, house: House
) -> None:
    app = App()
    app.include(shop)

    @app.workflow
    def mistaken() -> int:
        return len(client.list())

    @app.activity
    def starts_another() -> str:
        return str(client.start(till.double, 4).id)

    with app.overridden(origin="the test", database_url=house.dsn, auto_setup=True):
        await house.worker(app)
        own = await house.client(app)
        with pytest.raises(RunFailed, match="workflow code cannot use the blocking client: use it in an activity") as c:
            await (await own.start(mistaken)).result(SOON)
        assert isinstance(c.value.__cause__, ForbiddenInWorkflow)
        inner = own.get(await (await own.start(starts_another)).result(SOON), till.double)
        assert await inner.result(SOON) == 8


async def test_in_the_environment_of_a_test_it_is_connected_to_the_database_of_that_test(
    client: BlockingClient, holdfast_databases: Databases
) -> None:
    """Also one that was made when the module was imported, and has been used in another test."""
    for _ in range(2):
        async with holdfast_databases.database() as url, open_env(till.app, url) as env:
            run = await beside(lambda: client.start(till.rest))
            assert [one.id for one in await env.list()] == [run.id]


async def test_a_database_that_is_away_is_told_and_tried_again(dsn: str, empty_dsn: str) -> None:
    app = App("postgresql://nobody@127.0.0.1:1/nothing")
    client = app.blocking_client()

    def script() -> None:
        for _ in range(2):
            with pytest.raises(DatabaseUnavailable):
                client.list()
        app.override(origin="the test", database_url=dsn)
        assert len(client.list()) == 0
        client.close()

    await beside(script)


# ---- processes

PROGRAM = """
import os, sys, time
from holdfast import App
from tests.blocking.till import app, quadruple, rest

client = app.blocking_client(application="program")
run = client.start(rest)
"""


def program(code: str, dsn: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM + code],
        cwd=ROOT,
        env={**os.environ, "HOLDFAST_DATABASE_URL": dsn, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


async def test_a_script_that_does_not_close_it_ends_silently(dsn: str, db: asyncpg.Connection[asyncpg.Record]) -> None:
    done = await beside(lambda: program("print(run.status())", dsn))
    assert (done.returncode, done.stdout, done.stderr) == (0, "ready\n", "")


async def test_after_a_fork_both_processes_go_on(dsn: str, db: asyncpg.Connection[asyncpg.Record]) -> None:
    code = """
pid = os.fork()
if pid == 0:
    mine = client.start(rest)            # a connection of its own
    print(mine.status(), run.status(), flush=True)
    client.close()
    os._exit(7)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
for _ in range(3):
    print(client.start(rest).status(), run.status(), flush=True)   # the parent's still work
client.close()
"""
    done = await beside(lambda: program(code, dsn))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "ready ready\n" * 4
    assert await db.fetchval("select count(*) from holdfast.run") == 5


async def test_a_fork_while_another_thread_waits(dsn: str) -> None:
    code = """
import threading
def wait():
    try:
        run.result()
    except Exception as error:
        print(type(error).__name__, flush=True)
thread = threading.Thread(target=wait)
thread.start()
while not client._bridge._running: time.sleep(0.01)
import warnings; warnings.simplefilter("ignore")     # of forking beside threads: it is meant
pid = os.fork()
if pid == 0:
    print(run.status(), flush=True)
    os._exit(0)
os.waitpid(pid, 0)
client.close()
thread.join()
"""
    done = await beside(lambda: program(code, dsn))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "ready\nHoldfastError\n"


async def test_control_c_ends_a_script_that_waits(dsn: str) -> None:
    code = """
import threading, signal
threading.Timer(0.5, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
try:
    run.result()
except KeyboardInterrupt:
    print("interrupted", run.status())
"""
    done = await beside(lambda: program(code, dsn))
    assert (done.returncode, done.stdout, done.stderr) == (0, "interrupted ready\n", "")


async def test_runs_are_driven_by_hand_from_blocking_code(client: BlockingClient, house: House) -> None:
    def drive() -> None:
        assert client.driven.create_workflow("process_task")
        triggered = client.driven.trigger("process_task", {"id": 1, "payload": "Hello"})
        assert client.driven.workflows() == ["process_task"]
        with client.driven.consumer("process_task", name="notebook", visibility=timedelta(seconds=1)) as consumer:
            (run,) = consumer.dequeue(batch_size=5, wait=SOON)
            assert (run.id, run.input, [one.id for one in consumer.runs]) == (triggered.id, run.input, [run.id])
            taken_until = triggered.describe().due_at
            # Its heartbeats go on while this thread works.
            while triggered.describe().due_at == taken_until:
                pass
            step = run.acquire_step("greet")
            assert step.status is StepStatus.EXECUTE
            step.success(run.input["payload"])
            assert run.acquire_step("greet", key="again").value is None
            run.release()
            (run,) = consumer.dequeue()
            step = run.acquire_step("greet")
            assert (step.status, step.value, step.error) == (StepStatus.SKIPPED, "Hello", None)
            run.complete(step.value)
            assert consumer.archive(run) is False
            with pytest.raises(RunEnded):
                run.fail("too late")
        assert client.driven.get(triggered.id).result() == "Hello"
        with pytest.raises(HoldfastError, match="this consumer is closed"):
            consumer.dequeue()

    await beside(drive)
    await house.check_invariants()
