"""`holdfast worker` as a process: signals, exit codes, and several processes under one supervisor."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from datetime import timedelta

import pytest

from tests.cli.conftest import Holdfast
from tests.cli.yard import Yard
from tests.house import eventually

POISON = """
import os

from holdfast import App

app = App()


@app.activity
async def poison() -> None:
    os._exit(7)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_worker_that_is_told_to_stop_finishes_and_leaves(yard: Yard, number: signal.Signals) -> None:
    command = await yard.worker()
    run = await yard.client.start_by_name("stand_still", {"name": "a"})
    await yard.begun("a")
    command.send(number)
    await eventually(lambda: f"{number.name}: stopping in order" in command.log, "it heard the signal")
    yard.may_end("a")
    assert await command.exit() == 0
    assert await run.result(timedelta(seconds=1)) > 0
    assert await yard.house.value("select state from holdfast.worker") == "left"
    assert "Traceback" not in command.log


async def test_a_second_signal_cuts_the_grace_short(yard: Yard) -> None:
    command = await yard.worker("--grace", "1h")
    await yard.client.start_by_name("stand_still", {"name": "a"})
    await yard.begun("a")
    command.send(signal.SIGTERM)
    await eventually(lambda: "stopping in order" in command.log, "it heard the first")
    command.send(signal.SIGTERM)
    await yard.house.until("select state = 'left' from holdfast.worker")
    assert await yard.house.value("select bucket_id is null from holdfast.task")
    yard.may_end("a")
    assert await command.exit() == 0


async def test_a_worker_runs_on_uvloop_where_it_is_installed(yard: Yard) -> None:
    pytest.importorskip("uvloop")
    await yard.worker()
    run = await yard.client.start_by_name("which_loop")
    assert await run.result(timedelta(seconds=20)) == "uvloop"


async def test_options_can_come_from_the_environment_and_the_command_line_goes_first(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOLDFAST_WORKER_LANE", "reports")
    monkeypatch.setenv("HOLDFAST_WORKER_MAX_PROCESSES", "0")
    command = await yard.worker()
    assert await command.exit() == 2
    assert "max_processes (HOLDFAST_WORKER_MAX_PROCESSES): 1 to 1000, not 0" in command.log
    await yard.worker("--max-processes", "2")
    await yard.house.until("select exists (select from holdfast.worker where lane = 'reports')")


async def test_one_process_serves_several_lanes_and_leaves_them_all_when_it_is_told_to_stop(yard: Yard) -> None:
    (yard.place / "holdfast.toml").write_text("[holdfast.worker.lanes.reports]\nmax_threads = 1\n")
    command = await yard.worker("--lane", "orders", "--lane", "reports", "--name", "pair")
    await yard.alive(2)
    workers = await yard.house.db.fetch("select name, lane, pid from holdfast.worker order by lane")
    assert [row["lane"] for row in workers] == ["orders", "reports"]
    assert len({row["pid"] for row in workers}) == 1
    assert len({row["name"] for row in workers}) == 2
    lanes = ("orders", "reports")
    runs = [await yard.client.start_by_name("stand_still", {"name": lane}, lane=lane) for lane in lanes]
    for lane in lanes:
        await yard.begun(lane)
    command.send(signal.SIGTERM)
    await eventually(lambda: "stopping in order" in command.log, "it heard the signal")
    for lane in lanes:
        yard.may_end(lane)
    assert await command.exit() == 0
    assert {await run.result(timedelta(seconds=1)) for run in runs} == {workers[0]["pid"]}
    assert await yard.house.value("select count(*) from holdfast.worker where state = 'left'") == 2
    assert "Traceback" not in command.log


async def test_a_poisonous_run_of_one_of_several_lanes_is_executed_alone_in_its_lane(yard: Yard) -> None:
    """The process of its own serves that lane and no other."""
    (yard.place / "yard.py").write_text(POISON)
    await yard.worker("--lane", "orders", "--lane", "reports", "--processes", "2", "--lease", "2s")
    await yard.alive(4)
    run = await yard.client.start_by_name("poison", lane="reports")
    await yard.house.until("select exists (select from holdfast.result where run_id = $1)", run.id, patience=60.0)
    lanes = await yard.house.db.fetch("select w.lane, count(*) from holdfast.worker w group by w.lane order by w.lane")
    assert [row["lane"] for row in lanes] == ["orders", "reports"]
    assert await yard.house.value("select status from holdfast.result where run_id = $1", run.id) == 2
    assert await yard.house.value("select count(*) > 2 from holdfast.worker where lane = 'reports'")
    await yard.house.check_invariants()


async def test_a_process_that_dies_is_replaced_and_its_runs_go_on_at_once(yard: Yard) -> None:
    """The lease is an hour: only the supervisor can have seen to it."""
    command = await yard.worker("--processes", "2", "--lease", "1h")
    await yard.alive(2)
    run = await yard.client.start_by_name("stand_still", {"name": "a"})
    (victim,) = await yard.begun("a")
    os.kill(victim, signal.SIGKILL)
    await yard.begun("a", 2)
    await yard.alive(2)
    yard.may_end("a")
    assert await run.result(timedelta(seconds=20)) != victim
    assert f"process {victim} was killed by SIGKILL" in command.log
    assert "recovered 1 runs" in command.log
    command.send(signal.SIGTERM)
    assert await command.exit() == 0
    assert await yard.house.value("select count(*) from holdfast.worker where state = 'left'") == 2
    await yard.house.check_invariants()


async def test_workers_end_with_their_supervisor(yard: Yard) -> None:
    command = await yard.worker("--processes", "2")
    await yard.alive(2)
    command.process.kill()
    await yard.house.until("select count(*) = 2 from holdfast.worker where state = 'left'")


async def test_options_that_cannot_work_end_all_processes_with_exit_code_2(yard: Yard) -> None:
    (yard.place / "yard.py").write_text("from holdfast import App\napp = App()\n")
    command = await yard.worker("--processes", "2")
    assert await command.exit() == 2
    assert "the app has neither workflows nor activities" in command.log
    assert "Traceback" not in command.log


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ((), 2, "which app? Say --app module:attribute, or set HOLDFAST_APP"),
        (("--app", "nowhere:app"), 2, "there is no module 'nowhere'"),
        (("--app", "cli_shop:parcel"), 2, "is of class Signal, not an App; apps in it: app"),
        (
            ("--app", "cli_shop:app", "--lease", "1ms", "--max-threads", "0"),
            2,
            "- lease (--lease): 1 s to 3600 s, not 0.001 s",
        ),
        (("--app", "cli_shop:app", "--buckets", "urgent=1"), 2, "'urgent' is not one of very-low"),
        (("--app", "cli_shop:app", "--buckets", "high"), 2, "write a priority and a number"),
        (
            ("--app", "cli_shop:app", "--parallelism-factor", "fast"),
            2,
            "parallelism_factor (--parallelism-factor): 'fast' is not a number",
        ),
        (("--app", "cli_shop:app", "--lane", ""), 2, "lane (--lane): 1 to 200 characters without blanks, not ''"),
        (("--app", "cli_shop:app", "--lane", "a", "--lane", "a"), 2, "'a' stands there twice"),
        (("--app", "cli_shop:app", "--mode", "idle"), 2, "'idle' is not one of full, coordinator, execution, drain"),
        (
            ("--app", "cli_shop:app", "--lease", "1ms", "--database-url", "sqlite:///x"),
            2,
            "- database_url (--database-url)",
        ),
        (("--app", "cli_shop:app", "--database-url", "postgresql://localhost:1/x"), 3, "cannot be reached"),
        (("--app", "cli_shop:app", "--database-url", "sqlite:///x"), 2, "is not the URL of a Postgres"),
        (("--app", "cli_shop:app", "--schema", "Not-Plain"), 2, "is not a plain lower-case name"),
    ],
)
async def test_what_cannot_work_is_one_clear_line(
    yard: Yard, holdfast: Holdfast, arguments: tuple[str, ...], code: int, words: str
) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "holdfast", "worker", *arguments),
        env={name: value for name, value in os.environ.items() if name != "HOLDFAST_APP"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert (process.returncode, out) == (code, b"")
    assert words in err.decode()
    assert "Traceback" not in err.decode()
