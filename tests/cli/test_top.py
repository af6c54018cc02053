"""`holdfast top`: what is going on, for people and for programs, at a bounded cost."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import signal
import subprocess
import sys
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest

from holdfast.client import Overview
from holdfast.store.statements import Statements
from tests.cli.conftest import Holdfast
from tests.cli.yard import Yard
from tests.house import House, eventually

SOON = timedelta(seconds=20)
QUICK = ("--every", "300ms")


def line(said: Any, lane: str, priority: str = "medium", beside: str | None = None) -> Any:
    found = [one for one in said["lines"] if (one["lane"], one["priority"], one["beside"]) == (lane, priority, beside)]
    return found[0] if found else None


async def test_once_for_programs(yard: Yard, holdfast: Holdfast) -> None:
    await yard.worker("--lane", "orders", "--max-threads", "1")
    await yard.alive(1)
    held = await yard.client.start_by_name("stand_still", {"name": "a"}, lane="orders")
    await yard.begun("a")
    for _ in range(3):
        await yard.client.start_by_name("which_loop", lane="reports", priority="high")
    await yard.client.start_by_name("which_loop", lane="reports", priority="high", after=timedelta(days=1))
    said = await holdfast("top", "--once", "--json", *QUICK)
    assert said.code == 0
    orders, reports = line(said.json, "orders"), line(said.json, "reports", "high")
    assert (orders["held"], orders["due"], orders["workers"]) == (1, 0, 1)
    assert (reports["held"], reports["due"], reports["parked"], reports["workers"]) == (0, 3, 1, 0)
    assert reports["oldest"] > 0
    assert (reports["due_is_more"], said.json["more_lines"]) == (False, False)
    # The other priorities of the worker's lane are there with nothing in them, and the lines beside it are not.
    assert line(said.json, "orders", "low")["workers"] == 1
    assert line(said.json, "orders", beside="activities") is None
    (worker,) = said.json["workers"]
    assert (worker["lane"], worker["status"], worker["held"]) == ("orders", "active", 1)
    assert set(said.json["rates"]) == {"started", "ended", "recorded"}
    yard.may_end("a")
    await held.result(SOON)


async def test_once_for_people(yard: Yard, holdfast: Holdfast) -> None:
    await yard.client.start_by_name("which_loop", lane="reports", priority="high")
    said = await holdfast("top", "--once", *QUICK)
    assert said.code == 0
    for words in ("lane", "in line", "reports", "high", "no workers: what is started waits", "open", "started/s"):
        assert words in said.out
    empty = await holdfast("top", "--once", "--lane", "elsewhere", *QUICK)
    assert "nothing stands in line, and nobody takes anything" in empty.out


async def test_the_rates_are_those_of_what_is_done(yard: Yard, house: House) -> None:
    await yard.worker()
    client = yard.client
    await (await client.start_by_name("which_loop")).result(SOON)
    before = await client.workers.overview()
    runs = [await client.start_by_name("which_loop") for _ in range(50)]
    for run in runs:
        await run.result(SOON)

    async def now() -> Overview:
        return await client.workers.overview()

    found = await now()
    async with asyncio.timeout(20):
        # Statistics are up to a second late.
        while found.ended - before.ended < 50 or found.started - before.started < 50:
            await asyncio.sleep(0.1)
            found = await now()
    rates = found.rates_since(before)
    assert rates is not None
    seconds = (found.at - before.at).total_seconds()
    assert rates.ended * seconds >= 49.9
    assert found.rates_since(found) is None


async def test_one_lane_with_what_stands_beside_it(house: House) -> None:
    client = await house.client(house.app())
    for lane in ("a", "ab", "b"):
        await client.start_by_name("flow", lane=lane)
    await client.start_by_name("flow", lane="a", priority="low")
    await client.start_by_name("flow", lane="a", priority="high")
    await house.db.execute("update holdfast.task set lane = 'a activities' where priority = 2")
    await house.db.execute("update holdfast.task set lane = 'a driven flow' where priority = 4")
    found = await client.workers.overview(lane="a")
    assert [(one.lane, one.beside, one.priority, one.due) for one in found.lines] == [
        ("a", None, "medium", 1),
        ("a", "activities", "low", 1),
        ("a", "driven flow", "high", 1),
    ]
    assert [one.lane for one in (await client.workers.overview()).lines] == ["a", "a", "a", "ab", "b"]


async def test_no_more_is_counted_than_what_is_of_use(house: House) -> None:
    client = await house.client(house.app())
    await house.db.execute(
        "select holdfast.start('flow', lane => 'full') from generate_series(1, 1500);"
        "select holdfast.start('flow', lane => 'lane-' || n) from generate_series(1, 150) n"
    )
    found = await client.workers.overview(lane="full")
    (full,) = found.lines
    assert (full.due, full.due_is_more, full.parked, full.parked_is_more) == (1000, True, 0, False)
    everything = await client.workers.overview()
    assert (len(everything.lines), everything.more_lines) == (100, True)


async def test_what_it_asks_costs_no_more_where_there_is_more(house: House) -> None:
    """Blocks that are looked at: as many for 6,000 in line and as many that wait as for 1,500 of each; 1,000 count."""
    costs: list[int] = []
    for count in (1_500, 4_500):
        await house.db.execute(
            f"select holdfast.start('flow', lane => 'full') from generate_series(1, {count}); "
            f"select holdfast.start('flow', lane => 'full', after => '1 day') from generate_series(1, {count})"
        )
        await house.db.execute("vacuum analyze holdfast.task")
        costs.append(await blocks(house))
    assert costs[1] <= costs[0] * 1.5, costs


async def blocks(house: House) -> int:
    """The blocks that the statement touches."""
    statement = Statements()["top_lines"]
    text = statement.text
    for number, name in reversed([*enumerate(statement.parameters, 1)]):
        text = text.replace(f"${number}", {"lane": "null", "lines": "100", "most": "1000"}[name])
    (row,) = json.loads(await house.value(f"explain (analyze, buffers, format json) {text}"))
    plan = row["Plan"]
    return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])


async def test_lines_of_json_until_ctrl_c(yard: Yard) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "holdfast", "top", "--json", *QUICK),
        env={**os.environ, "HOLDFAST_DATABASE_URL": yard.house.dsn},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    async with asyncio.timeout(20):
        looks = [json.loads(await process.stdout.readline()) for _ in range(3)]
        process.send_signal(signal.SIGINT)
        out, err = await process.communicate()
    assert (process.returncode, err) == (0, b"")
    assert out == b"" or json.loads(out)
    assert looks[0]["rates"] is None
    assert all(look["rates"] is not None for look in looks[1:])


async def test_on_a_terminal_it_is_alive_and_leaves_it_as_it_was(yard: Yard) -> None:
    leader, follower = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "holdfast", "top", *QUICK),
        env={**os.environ, "HOLDFAST_DATABASE_URL": yard.house.dsn, "TERM": "xterm", "COLUMNS": "120", "LINES": "40"},
        stdin=follower,
        stdout=follower,
        stderr=follower,
    )
    os.close(follower)
    os.set_blocking(leader, False)
    shown = bytearray()

    def read() -> bytes:
        # Nothing new, or the other end is gone.
        with suppress(OSError):
            shown.extend(os.read(leader, 65536))
        return bytes(shown)

    try:
        await eventually(lambda: b"no workers" in read(), "it shows that nobody is there")
        await yard.worker()
        await yard.alive(1)
        await eventually(lambda: b"active" in read(), "it shows the worker that came")
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(20):
            assert await process.wait() == 0
        assert b"\x1b[?1049l" in read(), "the screen is given back"
        assert b"Traceback" not in read()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        os.close(leader)


@pytest.mark.parametrize("every", ["100ms", "1h", "soon"])
async def test_an_interval_that_makes_no_sense_is_refused(holdfast: Holdfast, every: str) -> None:
    said = await holdfast("top", "--once", "--every", every)
    assert (said.code, said.out) == (2, "")
