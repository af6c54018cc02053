"""``holdfast job``, and ``holdfast run reschedule``."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator

import pytest

from holdfast.app import load_app
from holdfast.app.hosted import HostedWorker
from tests.cli.conftest import Holdfast
from tests.house import QUICK, House


@pytest.fixture
async def worker(holdfast: Holdfast) -> AsyncIterator[HostedWorker]:
    """A worker of the shop."""
    async with load_app("cli_shop:app").worker(**QUICK) as worker:
        yield worker


async def test_a_job_is_started_without_its_code_and_waited_for(holdfast: Holdfast, worker: HostedWorker) -> None:
    said = await holdfast("job", "start", "pack", 'order={"number": 7}', "--wait")
    assert (said.code, said.out) == (0, '"box 7"\n')


async def test_a_job_that_fails_shows_each_of_its_attempts(holdfast: Holdfast, worker: HostedWorker) -> None:
    said = await holdfast("job", "start", "pack", 'order={"number": 13}', "--wait", "--json")
    assert (said.code, said.json["status"]) == (1, "failed")
    run = said.json["id"]
    shown = await holdfast("job", "show", run)
    for words in ("pack#1 attempt 1", "ValueError: nobody packs number 13", "job ·", "failed"):
        assert words in shown.out
    described = (await holdfast("job", "show", run, "--json")).json
    assert described["kind"] == "job"
    assert [(one["key"], one["number"], one["failure"]["message"]) for one in described["attempts"]] == [
        ("pack#1", 1, "nobody packs number 13"),
        ("pack#1", 2, "nobody packs number 13"),
    ]
    again = await holdfast("job", "retry", run, "--json")
    assert (again.code, again.json["continued_from"]) == (0, run)
    single = await holdfast("job", "start", "pack", 'order={"number": 13}', "--max-attempts", "1", "--wait", "--json")
    described = (await holdfast("job", "show", single.json["id"], "--json")).json
    assert [one["number"] for one in described["attempts"]] == [1]


async def test_lists_and_operations_are_about_jobs_alone(holdfast: Holdfast, house: House) -> None:
    flow = (await holdfast("run", "start", "ship-order", "order:={}")).out.strip()
    jobs = [(await holdfast("job", "start", "pack", "order:={}", "--after", "1h")).out.strip() for _ in range(3)]
    listed = (await holdfast("job", "list", "--json")).json
    assert [one["id"] for one in listed["runs"]] == jobs[::-1]
    assert {one["kind"] for one in listed["runs"]} == {"job"}
    assert "no jobs" in (await holdfast("job", "list", "--name", "ship-order")).out
    said = await holdfast("job", "cancel", "--all", "--lane", "default", "--json")
    assert said.json["effects"] == {"done": 3}
    assert (await holdfast("run", "show", flow, "--json")).json["status"] == "ready"
    said = await holdfast("job", "retry", "--all", "--status", "cancelled", "--json")
    assert len(said.json["made"]) == 3
    said = await holdfast("job", "cancel", jobs[0])
    assert (said.code, said.out) == (0, "cancelled: nothing of it had begun\n")


async def test_a_job_is_moved_to_another_time_lane_and_priority(holdfast: Holdfast, house: House) -> None:
    run = (await holdfast("job", "start", "pack", "order:={}", "--after", "1h")).out.strip()
    said = await holdfast("job", "reschedule", run, "--after", "3h", "--to-lane", "slow", "--priority", "low")
    assert (said.code, said.out) == (0, "moved\n")
    row = await house.db.fetchrow("select lane, priority, due_at - holdfast.now() > '2 hours' from holdfast.task")
    assert row is not None
    assert tuple(row) == ("slow", 2, True)
    said = await holdfast("job", "reschedule", run, "--at", "2030-01-31T09:00+00:00", "--json")
    assert said.json == {"id": run, "effect": "done"}
    assert await house.value("select due_at = '2030-01-31 09:00+00' from holdfast.task")
    said = await holdfast("run", "reschedule", "--all", "--name", "pack", "--to-lane", "default", "--json")
    assert (said.code, said.json["effects"]) == (0, {"done": 1})
    nothing = await holdfast("job", "reschedule", run)
    assert nothing.code == 2
    assert "say at or after, priority or lane" in nothing.err
    await holdfast("job", "cancel", run)
    said = await holdfast("job", "reschedule", run, "--after", "1h")
    assert (said.code, said.out) == (1, "it had ended before\n")
    unknown = await holdfast("job", "reschedule", uuid.uuid4(), "--after", "1h")
    assert unknown.code == 4


async def test_a_workflow_that_has_begun_has_times_of_its_own(
    holdfast: Holdfast, worker: HostedWorker, house: House
) -> None:
    run = (await holdfast("run", "start", "ship-order", 'order={"number": 7}')).out.strip()
    await house.until("select status = 'waiting' from holdfast.runs where id = $1", uuid.UUID(run))
    said = await holdfast("run", "reschedule", run, "--after", "1h")
    assert said.code == 1
    assert "has begun, and when it goes on is for its code to say" in said.err


async def test_keys_are_taken_for_a_while_and_replaced(holdfast: Holdfast, house: House) -> None:
    start = ("job", "start", "pack", "order:={}", "--key", "k", "--key-window", "open")
    first = (await holdfast(*start)).out.strip()
    again = await holdfast(*start, "--json")
    assert again.json == {"id": first, "existing": True}
    refused = await holdfast(*start, "--if-taken", "reject")
    assert refused.code == 1
    assert f"key 'k' of 'pack' is taken by run {first}: nothing was started" in refused.err
    new = (await holdfast(*start, "--if-taken", "replace")).out.strip()
    assert new != first
    assert (await holdfast("job", "show", first, "--json")).json["status"] == "cancelled"
    timed = await holdfast("job", "start", "pack", "order:={}", "--key", "t", "--key-window", "90m", "--json")
    assert await house.value(
        "select until - at between '89 min' and '91 min' from holdfast.start_key where run_id = $1",
        uuid.UUID(timed.json["id"]),
    )
    for wrong in (("--key-window", "open"), ("--if-taken", "replace")):
        said = await holdfast("job", "start", "pack", "order:={}", *wrong)
        assert said.code == 2
        assert "go with --key" in said.err
    said = await holdfast("job", "start", "pack", "order:={}", "--key", "k", "--key-window", "soon")
    assert said.code == 2


async def test_how_far_a_job_is_is_shown_and_watched(
    holdfast: Holdfast, worker: HostedWorker, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = (await holdfast("job", "start", "label", "parcels=3")).out.strip()
    await house.until("select exists (select from holdfast.heartbeat where progress is not null)")
    shown = await holdfast("job", "show", run)
    assert "33 %, parcel 1 of 3" in shown.out
    assert (await holdfast("job", "show", run, "--json")).json["progress"]["label#1"]["fraction"] == pytest.approx(
        1 / 3
    )
    watching = asyncio.ensure_future(holdfast("run", "watch", run))
    await house.until("select exists (select from holdfast.heartbeat where (progress ->> 'fraction')::float8 > 0.9)")
    await house.until("select exists (select from pg_stat_activity where application_name = 'holdfast run watch')")
    (house.place / "labelled").touch()
    said = await watching
    assert said.code == 0
