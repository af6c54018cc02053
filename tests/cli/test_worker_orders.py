"""`holdfast worker list`, `pause`, `resume`, `drain`, `stop`: workers in processes of their own, told from outside."""

from __future__ import annotations

import asyncio
import signal
from datetime import timedelta

import pytest

from tests.cli.conftest import Holdfast, Said
from tests.cli.yard import Yard
from tests.house import eventually

SOON = timedelta(seconds=20)


async def the_worker(yard: Yard) -> str:
    """The name of the one worker that is there."""
    await yard.alive(1)
    return str(await yard.house.value("select name from holdfast.worker where ended_at is null"))


async def state(yard: Yard, expected: str) -> None:
    await yard.house.until("select bool_and(state = $1) from holdfast.worker", expected)


async def test_the_list_shows_all_that_there_is_to_know(yard: Yard, holdfast: Holdfast) -> None:
    await yard.worker("--name", "payroll", "--buckets", "critical=2 very-low=0", "--lane", "money")
    name = await the_worker(yard)
    await yard.client.start_by_name("stand_still", {"name": "a"}, lane="money")
    await yard.begun("a")
    said = await holdfast("worker", "list", "--json")
    assert said.code == 0
    (one,) = said.json["workers"]
    assert one["name"] == name
    assert name.startswith("payroll-")
    assert (one["lane"], one["mode"], one["status"], one["asked"], one["held"]) == ("money", "full", "active", None, 1)
    own = [
        (bucket["priority"], bucket["state"], bucket["held"]) for bucket in one["buckets"] if bucket["lane"] == "money"
    ]
    assert own == [
        ("critical", "active", 0),
        ("critical", "active", 0),
        ("high", "active", 0),
        ("medium", "active", 1),
        ("low", "active", 0),
    ]
    assert 0 <= one["heartbeat_age"] < one["lease"] == 30
    assert one["version"]
    for_people = await holdfast("worker", "list", "payroll")
    for words in (name, "active", "money", "full", "5", "s ago", one["version"]):
        assert words in for_people.out
    assert (await holdfast("worker", "list", "--lane", "other", "--json")).json == {"workers": []}
    yard.may_end("a")


async def test_a_consumer_is_in_the_list_and_has_no_mode(yard: Yard, holdfast: Holdfast) -> None:
    async with yard.client.queue("letters").consume(name="postman") as consumer:
        waiting = asyncio.ensure_future(anext(aiter(consumer)))
        await yard.house.until("select count(*) = 1 from holdfast.consumer")
        (one,) = (await holdfast("worker", "list", "--json")).json["workers"]
        assert (one["name"].rpartition("-")[0], one["mode"], one["buckets"]) == ("postman", None, [])
        said = await holdfast("worker", "list")
        # That nobody takes over from workers is no matter of those who are none.
        assert "consumer" in said.out
        assert "takes over" not in said.err
        waiting.cancel()
        await asyncio.wait([waiting])


async def test_a_paused_worker_begins_nothing_and_keeps_what_runs(yard: Yard, holdfast: Holdfast) -> None:
    await yard.worker()
    name = await the_worker(yard)
    running = await yard.client.start_by_name("stand_still", {"name": "a"})
    (pid,) = await yard.begun("a")
    said = await holdfast("worker", "pause", name, "--json")
    assert said.code == 0
    assert [(one["name"], one["status"], one["obeyed"]) for one in said.json["workers"]] == [(name, "paused", True)]
    waiting = await yard.client.start_by_name("stand_still", {"name": "b"})
    yard.may_end("a")
    assert await running.result(SOON) == pid
    # Another worker is not paused, and takes it: so it was to be had all the time.
    yard.may_end("b")
    other = await yard.worker("--name", "other")
    assert await waiting.result(SOON) == other.process.pid
    assert await yard.house.value("select state from holdfast.worker where name = $1", name) == "paused"
    other.send(signal.SIGTERM)
    assert await other.exit() == 0
    alone = await yard.client.start_by_name("which_loop")
    assert (await holdfast("worker", "resume", name)).code == 0
    assert await alone.result(SOON)
    await yard.house.check_invariants()


@pytest.mark.parametrize("which", [("payroll",), ("--lane", "a"), ("--all",), ("payroll", "--lane", "a")])
async def test_workers_are_told_by_name_by_lane_and_all_together(
    yard: Yard, holdfast: Holdfast, which: tuple[str, ...]
) -> None:
    await yard.worker("--name", "payroll", "--lane", "a", "--lane", "b")
    await yard.worker("--name", "reports", "--lane", "a")
    await yard.alive(3)
    said = await holdfast("worker", "pause", *which, "--json")
    assert said.code == 0
    rows = await yard.house.db.fetch("select name, lane, state from holdfast.worker")
    for row in rows:
        named = row["name"].startswith("payroll") or "payroll" not in which
        meant = named and ("--lane" not in which or row["lane"] == "a")
        assert row["state"] == ("paused" if meant else "active"), which
    assert len(said.json["workers"]) == sum(row["state"] == "paused" for row in rows)


async def test_a_drained_worker_finishes_what_it_has_begun_gives_back_the_rest_and_leaves(
    yard: Yard, holdfast: Holdfast
) -> None:
    command = await yard.worker("--grace", "0", "--max-threads", "1")
    name = await the_worker(yard)
    running = await yard.client.start_by_name("stand_still", {"name": "a"})
    (pid,) = await yard.begun("a")
    waiting = [await yard.client.start_by_name("stand_still", {"name": "b"}) for _ in range(2)]
    await yard.house.held(*[run.id for run in waiting])
    said = await holdfast("worker", "drain", name)
    assert said.code == 0
    assert f"{name}  draining" in said.out
    # What it has not begun goes back at once, and what it has begun is waited for: a grace of nothing is no limit.
    await yard.house.until(
        "select count(*) = 2 from holdfast.task where run_id = any ($1::uuid[]) and bucket_id is null",
        [run.id for run in waiting],
    )
    assert command.process.returncode is None
    listed = (await holdfast("worker", "list", "--json")).json["workers"]
    assert [(one["status"], one["held"]) for one in listed] == [("draining", 1)]
    assert {bucket["state"] for bucket in listed[0]["buckets"]} == {"completing"}
    yard.may_end("a")
    assert await running.result(SOON) == pid
    assert await command.exit() == 0
    assert await yard.house.value("select state from holdfast.worker") == "left"
    assert (await holdfast("worker", "list", "--json")).json["workers"] == []
    await yard.house.check_invariants()


async def test_one_that_drains_can_be_told_to_stop_and_then_waits_for_its_grace_alone(
    yard: Yard, holdfast: Holdfast
) -> None:
    command = await yard.worker("--grace", "100ms")
    name = await the_worker(yard)
    run = await yard.client.start_by_name("stand_still", {"name": "a"})
    await yard.begun("a")
    assert (await holdfast("worker", "drain", name)).code == 0
    said = await holdfast("worker", "resume", name, "--json")
    assert said.code == 1
    assert "it is drain already" in said.json["workers"][0]["problem"]
    assert (await holdfast("worker", "stop", name)).code == 0
    await state(yard, "left")
    assert await yard.house.value("select bucket_id is null from holdfast.task where run_id = $1", run.id)
    yard.may_end("a")
    assert await command.exit() == 0


async def test_stop_waits_for_the_grace_and_stop_now_for_nothing(yard: Yard, holdfast: Holdfast) -> None:
    command = await yard.worker("--grace", "1h")
    name = await the_worker(yard)
    run = await yard.client.start_by_name("stand_still", {"name": "a"})
    await yard.begun("a")
    for _ in range(2):
        # Said twice is not said with more haste.
        said = await holdfast("worker", "stop", name, "--json")
        assert said.json["workers"][0]["status"] == "stopping"
    await state(yard, "stopping")
    assert (await holdfast("worker", "stop", name, "--now")).code == 0
    await state(yard, "left")
    assert await yard.house.value("select bucket_id is null from holdfast.task where run_id = $1", run.id)
    yard.may_end("a")
    assert await command.exit() == 0


async def test_one_that_is_held_up_is_said_to_be_and_obeys_when_that_is_over(yard: Yard, holdfast: Holdfast) -> None:
    """Its event loop stands still; its heartbeat does not, and has heard."""
    command = await yard.worker("--lease", "3s")
    name = await the_worker(yard)
    run = await yard.client.start_by_name("hold_up", {"name": "a"})
    (pid,) = await yard.begun("a")
    said = await holdfast("worker", "stop", name, "--wait", "1500ms", "--json")
    assert said.code == 5
    (answer,) = said.json["workers"]
    assert (answer["told"], answer["obeyed"], answer["status"]) == (True, False, "active")
    assert "something holds up its event loop" in answer["problem"]
    assert f"its process is {pid} on " in answer["problem"]
    yard.may_end("a")
    assert await command.exit() == 0
    assert await run.result(SOON) == pid
    assert await yard.house.value("select state from holdfast.worker") == "left"


async def test_of_one_that_has_just_died_it_is_said(yard: Yard, holdfast: Holdfast) -> None:
    command = await yard.worker("--lease", "3s")
    name = await the_worker(yard)
    command.process.kill()
    await command.process.wait()
    said = await holdfast("worker", "pause", name, "--json")
    assert said.code == 1
    (answer,) = said.json["workers"]
    assert (answer["obeyed"], answer["status"]) == (False, "dead")
    assert "it is dead: its last heartbeat was " in answer["problem"]
    # And from then on at once.
    again = await holdfast("worker", "pause", name)
    assert again.code == 1
    assert "it is dead" in again.out
    await yard.worker("--name", "heir", "--lease", "3s")
    await yard.house.until("select state = 'lost' from holdfast.worker where name = $1", name)
    gone = await holdfast("worker", "pause", name, "--json")
    assert gone.code == 1
    assert "it is gone: others have its runs" in gone.json["workers"][0]["problem"]


async def test_of_one_that_is_silent_within_its_lease_it_is_said_as_well(yard: Yard, holdfast: Holdfast) -> None:
    command = await yard.worker("--lease", "8s")
    name = await the_worker(yard)
    command.send(signal.SIGSTOP)
    await yard.house.until("select clock_timestamp() > lease_until - lease * 0.45 from holdfast.worker")
    said = await holdfast("worker", "pause", name, "--wait", "100ms", "--json")
    assert said.code == 5
    assert "it seems to be dead: its last heartbeat was " in said.json["workers"][0]["problem"]
    assert "its lease is over" in said.json["workers"][0]["problem"]


async def test_a_pause_outlives_the_name_of_the_worker(yard: Yard, holdfast: Holdfast) -> None:
    """It was frozen for longer than its lease: it goes on as a new worker, and is paused."""
    command = await yard.worker("--lease", "1s")
    name = await the_worker(yard)
    assert (await holdfast("worker", "pause", name)).code == 0
    command.send(signal.SIGSTOP)
    await yard.house.until("select lease_until < clock_timestamp() from holdfast.worker")
    run = await yard.client.start_by_name("which_loop")
    command.send(signal.SIGCONT)
    renamed = "select name from holdfast.worker where state = 'paused' and name <> $1"
    new = await yard.house.until(renamed, name)
    assert await yard.house.value("select first_claim_at is null from holdfast.task where run_id = $1", run.id)
    assert (await holdfast("worker", "resume", new)).code == 0
    assert await run.result(SOON)


async def test_without_hints_they_obey_within_a_heartbeat(yard: Yard, holdfast: Holdfast) -> None:
    await yard.worker("--no-hints", "--lease", "3s")
    name = await the_worker(yard)
    loop = asyncio.get_running_loop()
    for verb, expected in (("pause", "paused"), ("resume", "active"), ("drain", "draining")):
        began = loop.time()
        said = await holdfast("worker", verb, name, "--json")
        assert said.code == 0, said
        assert said.json["workers"][0]["status"] in (expected, "left")
        assert loop.time() - began < 3.0, "a heartbeat comes every third of the lease"
    await state(yard, "left")


async def test_all_processes_of_a_supervisor_leave_and_so_does_it(yard: Yard, holdfast: Holdfast) -> None:
    command = await yard.worker("--processes", "2")
    await yard.alive(2)
    assert (await holdfast("worker", "drain", "--all")).code == 0
    assert await command.exit() == 0
    await state(yard, "left")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("nobody",), 4, "there is no worker called 'nobody'; `holdfast worker list` shows those there are"),
        (("--lane", "nowhere"), 4, "there is no worker in lane 'nowhere'"),
        (("--all",), 4, "there is no worker;"),
        ((), 2, "which workers? Give a name, a lane or both; or --all, and neither of them"),
        (("payroll", "--all"), 2, "which workers?"),
        (("payroll", "--wait", "soon"), 2, "'soon' is not a duration"),
    ],
)
@pytest.mark.parametrize("verb", ["pause", "resume", "drain", "stop"])
async def test_what_cannot_be_done_is_said(
    holdfast: Holdfast, verb: str, words: tuple[str, ...], code: int, said: str
) -> None:
    answer = await holdfast("worker", verb, *words)
    assert (answer.code, answer.out) == (code, "")
    assert said in answer.err


async def test_a_worker_runs_with_and_without_the_word_for_it(yard: Yard) -> None:
    await yard.worker("--lane", "a")
    await yard.worker("--lane", "b", word="run")
    await yard.alive(2)


async def test_where_nobody_recovers_the_list_says_so(yard: Yard, holdfast: Holdfast) -> None:
    await yard.worker("--mode", "execution")
    await the_worker(yard)
    assert "nobody here takes over the runs of workers that die" in (await holdfast("worker", "list")).err
    await yard.worker("--mode", "drain")
    await yard.alive(2)
    assert "nobody here" not in (await holdfast("worker", "list")).err


async def test_a_held_up_worker_is_waited_for_as_long_as_one_wants(yard: Yard, holdfast: Holdfast) -> None:
    command = await yard.worker("--lease", "3s")
    name = await the_worker(yard)
    await yard.client.start_by_name("hold_up", {"name": "a"})
    await yard.begun("a")
    said: asyncio.Future[Said] = asyncio.ensure_future(holdfast("worker", "drain", name, "--wait", "20s"))
    await yard.house.until("select command = 'drain' from holdfast.worker")
    yard.may_end("a")
    assert (await said).code == 0
    assert await command.exit() == 0
    await eventually(lambda: "drain" in command.log, "it says what it was told")
