"""W9 for processes: an activity that is isolated can really be ended, and its end takes nothing else along."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import signal
import subprocess
import sys
import types
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest

from holdfast import ActivityCrashed, App, DefinitionError, RunCancelled, RunFailed, activity_info
from holdfast.app.hosted import WorkerOptions
from holdfast.client import Client
from holdfast.core.failure import Failure
from tests.apps import grinder
from tests.apps.grinder import app
from tests.apps.ledger import Ledger
from tests.house import QUICK, ROOT, House, WorkerProcess, eventually

SOON = timedelta(seconds=20)
MODULE = "tests.apps.grinder"


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ledger:
    ledger = Ledger(tmp_path / "ledger")
    for name, value in ledger.env.items():
        monkeypatch.setenv(name, value)
    return ledger


@pytest.fixture
async def client(house: House, ledger: Ledger) -> Client:
    app.override(origin="the test", database_url=house.dsn)
    return await house.client(app)


def begun(ledger: Ledger) -> list[list[int]]:
    """Of each attempt that has begun: its number, its process, the parent of that, and what else it says."""
    return [[int(word) for word in line.split()[2:]] for line in ledger.lines() if line.startswith("begun")]


async def first_begun(ledger: Ledger) -> list[int]:
    (one, *_) = await eventually(lambda: begun(ledger), "an attempt has begun")
    return list(one)


async def gone(*pids: int) -> None:
    await eventually(lambda: not any(_alive(pid) for pid in pids), f"{pids} are gone")


def _alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


# ---- what it does


async def test_it_runs_in_processes_of_its_own_at_most_so_many_and_knows_what_it_is(
    house: House, client: Client, ledger: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    await house.worker(app, max_processes=2)
    run = await client.start(grinder.mill, list(range(12)))
    with caplog.at_level(logging.WARNING):
        found = await run.result(timeout=SOON)
    pids = {one["pid"] for one in found}
    assert [one["number"] for one in found] == list(range(12))
    assert len(pids) <= 2
    assert os.getpid() not in pids
    assert [one["key"] for one in found] == [f"grind#{n}" for n in range(1, 13)]
    assert {(one["workflow"], one["run_id"]) for one in found} == {("mill", str(run.id))}
    assert found[0]["idempotency_key"] == f"{run.id}:grind#1"
    said = [record for record in caplog.records if record.name == "grinder"]
    assert sorted(record.getMessage() for record in said) == sorted(f"grinding {n}" for n in range(12))
    assert {record.process for record in said} == pids
    assert {record.__dict__["number"] for record in said} == set(range(12))


async def test_a_job_runs_there_too(house: House, client: Client, ledger: Ledger) -> None:
    await house.worker(app)
    found = await (await client.start(grinder.grind, 1)).result(timeout=SOON)
    assert found["pid"] != os.getpid()
    assert found["workflow"] is None


async def test_what_it_raises_comes_out_as_it_does_of_any_activity(
    house: House, client: Client, ledger: Ledger
) -> None:
    await house.worker(app)
    assert await (await client.start(grinder.catches)).result(timeout=SOON) == ("the inlet", 3)
    for how, expected in {
        "own": f"{MODULE}:Jammed: jammed at the inlet, 3 times",
        "group": "builtins:ExceptionGroup: two (2 sub-exceptions)",
        "exit": "builtins:SystemExit: 3",
        "because": "builtins:ValueError: because",
    }.items():
        with pytest.raises(RunFailed, match=re.escape(expected)) as caught:
            await (await client.start(grinder.jams, how)).result(timeout=SOON)
        assert "in jams" in (caught.value.traceback or "")


@pytest.mark.parametrize(("how", "attempts"), [("after", 2), ("class", 1), ("word", 1)])
async def test_the_retry_policy_sees_what_was_raised_there(
    house: House, client: Client, ledger: Ledger, how: str, attempts: int
) -> None:
    await house.worker(app)
    run = await client.start(grinder.decides, how)
    if how == "after":
        assert await run.result(timeout=SOON) == 2
    else:
        with pytest.raises(RunFailed):
            await run.result(timeout=SOON)
    assert len(begun(ledger)) == attempts


@pytest.mark.parametrize("what", ["set", "nan", "long"])
async def test_what_cannot_be_stored_fails_it_clearly(house: House, client: Client, ledger: Ledger, what: str) -> None:
    await house.worker(app)
    with pytest.raises(RunFailed, match=r"Unstorable: the result of activity 'gives'"):
        await (await client.start(grinder.gives, what)).result(timeout=SOON)


async def test_a_nul_in_a_text_comes_back(house: House, client: Client, ledger: Ledger) -> None:
    await house.worker(app)
    assert await (await client.start(grinder.gives, "text")).result(timeout=SOON) == "a\0b"


# ---- its end


async def test_one_that_takes_too_long_is_killed_and_tried_again_in_another_process(
    house: House, client: Client, ledger: Ledger
) -> None:
    await house.worker(app, max_processes=1)
    run = await client.start(grinder.slow_at_first)
    assert await run.result(timeout=SOON) == 2
    (_, first, _), (_, second, _) = begun(ledger)
    assert first != second
    await gone(first)
    error = await house.value("select error from holdfast.journal where run_id = $1", run.id)
    assert "took longer than 0.3 s" in error


async def test_a_process_that_dies_fails_its_attempt_and_nothing_else(
    house: House, client: Client, ledger: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    worker = await house.worker(app, max_processes=2)
    beside = await client.start(grinder.mill, [1])
    assert await (await client.start(grinder.dies, 2, 7)).result(timeout=SOON) == 3
    with pytest.raises(RunFailed, match=r"ActivityCrashed: .*its process ended with exit code 9") as caught:
        await (await client.start(grinder.dies, 3, 9)).result(timeout=SOON)
    assert caught.value.type_name == "holdfast.core.errors:ActivityCrashed"
    await beside.result(timeout=SOON)
    assert worker._worker is not None
    assert await house.value("select count(*) from holdfast.worker") == 1
    assert await house.value("select max(crashes) from holdfast.task") is None
    assert "ended with exit code 7" in caplog.text


def test_its_crash_can_be_caught_in_a_workflow_live_and_on_replay() -> None:
    told = ActivityCrashed("grind", "ProcessDied", "its process was killed by SIGKILL")
    back = Failure.from_json(Failure.of(told).to_json()).exception("grind")
    assert type(back) is ActivityCrashed
    assert str(back) == str(told)


async def test_a_workflow_that_waits_no_longer_has_it_killed(house: House, client: Client, ledger: Ledger) -> None:
    await house.worker(app)
    run = await client.start(grinder.gives_up_waiting)
    _, pid, _ = await first_begun(ledger)
    await run.signal(grinder.enough, None)
    assert await run.result(timeout=SOON) == "waited no longer"
    await gone(pid)


async def test_a_job_that_is_cancelled_is_killed(house: House, client: Client, ledger: Ledger) -> None:
    await house.worker(app)
    run = await client.start(grinder.deaf)
    _, pid, _ = await first_begun(ledger)
    await run.cancel()
    with pytest.raises(RunCancelled):
        await run.result(timeout=SOON)
    await gone(pid)


async def test_one_that_listens_has_a_moment_to_end_by_itself(house: House, client: Client, ledger: Ledger) -> None:
    await house.worker(app, max_processes=1)
    run = await client.start(grinder.attentive)
    _, pid, _ = await first_begun(ledger)
    await run.cancel()
    await eventually(lambda: f"told {pid}" in ledger.lines(), "it was told")
    # Its process lives on, for the next.
    found = await (await client.start(grinder.grind, 1)).result(timeout=SOON)
    assert found["pid"] == pid


async def test_what_it_has_started_is_killed_with_it(house: House, client: Client, ledger: Ledger) -> None:
    await house.worker(app)
    run = await client.start(grinder.parent)
    _, pid, _, program = await first_begun(ledger)
    await run.cancel()
    await gone(pid, program)


async def test_a_worker_that_loses_its_lease_kills_them(house: House, client: Client, ledger: Ledger) -> None:
    worker = await house.worker(app, lease=timedelta(seconds=1))
    await client.start(grinder.endless)
    _, pid, _ = await first_begun(ledger)
    assert worker._worker is not None
    name = worker._worker.name
    assert name is not None
    await house.expire_lease(name)
    await gone(pid)


# ---- with its worker


async def process(house: House, ledger: Ledger, *options: str) -> WorkerProcess:
    started = await house.process(MODULE, "--lease", "2s", "--poll", "200ms", *options, env=ledger.env)
    await started.name()
    return started


@pytest.mark.parametrize("activity", [grinder.endless, grinder.deaf], ids=lambda activity: activity.name)
async def test_nothing_is_left_running_when_the_worker_is_killed(
    house: House, client: Client, ledger: Ledger, activity: Any
) -> None:
    worker = await process(house, ledger)
    await client.start(activity)
    _, pid, above = await first_begun(ledger)
    assert above == worker.pid
    await worker.kill()
    await gone(pid)


async def test_what_runs_may_finish_within_the_grace(house: House, client: Client, ledger: Ledger) -> None:
    worker = await process(house, ledger, "--grace", "20s")
    run = await client.start(grinder.lasts, 1.0)
    _, pid, _ = await first_begun(ledger)
    # To all of them, as a service manager or a terminal does.
    worker.send(signal.SIGTERM)
    os.kill(pid, signal.SIGTERM)
    os.kill(pid, signal.SIGINT)
    assert await worker.exit() == 0
    assert await run.result(timeout=SOON) == "done"
    await gone(pid)


async def test_after_the_grace_it_is_killed_and_its_run_given_back(
    house: House, client: Client, ledger: Ledger
) -> None:
    worker = await process(house, ledger, "--grace", "200ms")
    run = await client.start(grinder.endless)
    _, pid, _ = await first_begun(ledger)
    worker.send(signal.SIGTERM)
    assert await worker.exit() == 0
    await gone(pid)
    assert await house.value("select status from holdfast.runs where id = $1", run.id) == "ready"


SCRIPT = """
import asyncio
from datetime import timedelta

from holdfast import App, Retry

app = App()


class Own(Exception):
    pass


@app.activity(isolation="process", retry=Retry(max_attempts=1))
def work(number: int) -> int:
    if number == 3:
        raise Own("three")
    return number * 2


@app.workflow
async def flow() -> str:
    try:
        await work(3)
    except Own as own:
        return f"{await work(2)} {own}"
    return "no"


async def main() -> None:
    async with app.worker(skip_warm_up=True), app.client() as client:
        print(await (await client.start(flow)).result(timedelta(seconds=20)))


if __name__ == "__main__":
    asyncio.run(main())
"""


@pytest.mark.parametrize("how", [["script.py"], ["-m", "script"]], ids=["by path", "by name"])
def test_activities_of_a_script_are_found(dsn: str, tmp_path: Path, how: list[str]) -> None:
    (tmp_path / "script.py").write_text(SCRIPT, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, *how],
        cwd=tmp_path,
        env={**os.environ, "HOLDFAST_DATABASE_URL": dsn, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout, done.returncode) == ("4 three\n", 0), done.stderr


# ---- what cannot be


async def coroutine() -> None: ...


def local() -> Callable[[], None]:
    def inner() -> None: ...

    return inner


def test_what_no_process_could_find_is_refused() -> None:
    app = App()
    decorate: Callable[..., Any] = app.activity
    with pytest.raises(DefinitionError, match=r"a lambda has none"):
        decorate(name="short", isolation="process")(lambda: None)
    with pytest.raises(DefinitionError, match=r"local.<locals>.inner exists only inside of a call"):
        decorate(isolation="process")(local())
    with pytest.raises(DefinitionError, match="for functions that are not async"):
        decorate(isolation="process")(coroutine)
    with pytest.raises(DefinitionError, match='isolation= is "process", or left out, not'):
        decorate(isolation="thread")(grinder.spin)
    with pytest.raises(DefinitionError, match="max_processes limits it, max_concurrency= does not"):
        decorate(isolation="process", max_concurrency=2)(grinder.spin)


def test_a_worker_refuses_what_no_process_would_find(house: House) -> None:
    app = house.app()
    module = types.ModuleType("typed_at_a_prompt")
    sys.modules[module.__name__] = module
    try:
        exec("def work() -> None: ...", vars(module))  # noqa: S102 - as an interpreter does
        app.activity(isolation="process")(vars(module)["work"])
        check(app, "module 'typed_at_a_prompt' cannot be imported again, because it is no file")
    finally:
        del sys.modules[module.__name__]
    other = house.app()
    other.activity(isolation="process")(types.FunctionType(grinder.spin.__code__, grinder.__dict__, "spin"))
    check(other, "grinder:spin is <function spin")


def check(app: App, message: str) -> None:
    async def run() -> None:
        await app.worker(**QUICK).run()

    with pytest.raises(DefinitionError, match=message):
        asyncio.run(run())


async def test_outside_of_a_worker_it_is_called_as_it_is() -> None:
    with pytest.raises(RuntimeError, match="while a worker runs it"):
        activity_info()
    work: Callable[[float], Awaitable[None]] = App().activity(isolation="process")(grinder.spin)
    await work(0.0)


def test_the_number_of_processes_can_be_set() -> None:
    options: WorkerOptions = {"max_processes": 3}
    assert app.worker(**options).settings.max_processes == 3
    assert app.worker().settings.max_processes == os.cpu_count()
