"""Starting runs from the command line, sending to them, and looking at them."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from holdfast.app import load_app
from holdfast.app.hosted import HostedWorker
from tests.cli.conftest import Holdfast
from tests.house import QUICK, House, eventually


@pytest.fixture
async def worker(holdfast: Holdfast) -> AsyncIterator[HostedWorker]:
    """A worker of the shop."""
    async with load_app("cli_shop:app").worker(**QUICK) as worker:
        yield worker


async def test_a_run_is_started_and_waited_for(holdfast: Holdfast, worker: HostedWorker) -> None:
    said = await holdfast("run", "start", "ship-order", 'order={"number": 7, "express": true}', "--wait")
    assert (said.code, said.out) == (0, '"box 7 by air"\n')


async def test_a_run_that_fails_gives_exit_code_1_and_says_why(holdfast: Holdfast, worker: HostedWorker) -> None:
    said = await holdfast("run", "start", "ship-order", "--input", '{"order": {"number": 13}}', "--wait", "--json")
    assert said.code == 1
    assert said.json["status"] == "failed"
    assert said.json["failure"]["type"] == "builtins:ValueError"
    assert "nobody packs number 13" in said.json["failure"]["message"]
    words = await holdfast("run", "show", said.json["id"])
    assert "pack#1 attempt 1" in words.out
    assert "ValueError: nobody packs number 13" in words.out


async def test_a_run_that_has_not_ended_in_time_gives_exit_code_5(holdfast: Holdfast) -> None:
    said = await holdfast("run", "start", "ship-order", "order:={}", "--wait", "--at-most", "50ms")
    assert said.code == 5
    assert "it waits for a worker of lane 'default'; none that knows 'ship-order' is there" in said.err
    assert "has not ended after 0.05 s; it goes on" in said.err
    assert "Traceback" not in said.err


async def test_input_can_come_from_stdin(holdfast: Holdfast, house: House) -> None:
    said = await holdfast("run", "start", "ship-order", "--input", "-", "--json", stdin='{"order": {"number": 3}}')
    assert await house.value("select input->'order'->>'number' from holdfast.run") == "3"
    assert set(said.json) == {"id", "existing"}


async def test_headers_travel_with_a_start(holdfast: Holdfast, house: House) -> None:
    words = ("run", "start", "ship-order", "order:={}", "--header", "tenant=acme", "--header", "trace=a=b")
    run = (await holdfast(*words)).out.strip()
    headers = await house.value("select options->'headers' from holdfast.run where id = $1", uuid.UUID(run))
    assert json.loads(headers) == {"tenant": "acme", "trace": "a=b"}
    for wrong in ("tenant", "=acme"):
        said = await holdfast("run", "start", "ship-order", "--header", wrong)
        assert said.code == 2
        assert "write name=value" in said.err


async def test_all_options_of_a_start_arrive(holdfast: Holdfast, house: House) -> None:
    options = ("--key", "order:1", "--lane", "parcels", "--priority", "high", "--after", "1h", "--timeout", "2d")
    said = await holdfast("run", "start", "ship-order", "order:={}", *options, "--tag", "a=b", "--tag", "c=d")
    row = await house.db.fetchrow(
        "select r.lane, r.priority, r.tags::text, t.due_at - r.created_at, t.deadline - r.created_at, r.id::text "
        "from holdfast.run r join holdfast.task t on t.run_id = r.id"
    )
    assert row is not None
    assert (row[0], row[1], row[2]) == ("parcels", 4, '{"a": "b", "c": "d"}')
    assert (row[3].total_seconds(), row[4].total_seconds()) == (3600, 172_800)
    assert said.out == f"{row[5]}\n"
    assert "it waits for its time" in said.err
    again = await holdfast("run", "start", "ship-order", "order:={}", *options, "--json")
    assert again.json == {"id": row[5], "existing": True}


async def test_one_key_and_another_input_is_refused(holdfast: Holdfast) -> None:
    await holdfast("run", "start", "ship-order", "order:={}", "--key", "k")
    said = await holdfast("run", "start", "ship-order", "order:=[]", "--key", "k")
    assert said.code == 1
    assert "which was started with another input" in said.err


async def test_nobody_who_knows_the_name_is_told(holdfast: Holdfast) -> None:
    said = await holdfast("run", "start", "ship-ordre")
    assert said.code == 0
    assert "it waits for a worker of lane 'default'; none that knows 'ship-ordre' is there" in said.err


async def test_with_the_app_an_unknown_name_is_refused(holdfast: Holdfast, house: House) -> None:
    said = await holdfast("run", "start", "ship-ordre", "--app", "cli_shop:app")
    assert (said.code, said.out) == (2, "")
    assert said.err == (
        "holdfast: no workflow or activity is registered under the name 'ship-ordre'; "
        "registered: approve, label, pack, scales, ship-order\n"
    )
    assert await house.value("select count(*) from holdfast.run") == 0


async def test_with_the_app_wrong_input_is_refused_with_its_path(holdfast: Holdfast, house: House) -> None:
    said = await holdfast("run", "start", "ship-order", 'order={"number": "many"}', "--app", "cli_shop:app")
    assert said.code == 2
    assert "order.number" in said.err
    assert await house.value("select count(*) from holdfast.run") == 0


async def test_a_run_is_shown_with_what_it_waits_for_and_goes_on_with_a_signal(
    holdfast: Holdfast, worker: HostedWorker, house: House
) -> None:
    run = (await holdfast("run", "start", "ship-order", 'order={"number": 7}', "--tag", "customer=acme")).out.strip()
    await house.until("select status = 'waiting' from holdfast.runs where id = $1", uuid.UUID(run))
    shown = await holdfast("run", "show", run)
    for words in ("ship-order", run, "waiting", "customer=acme", "pack#1", '"box 7"', "waits for signal 'parcel'"):
        assert words in shown.out
    described = (await holdfast("run", "show", run, "--json")).json
    assert [(step["key"], step["kind"], step["output"]) for step in described["journal"]] == [
        ("pack#1", "activity", "box 7")
    ]
    assert (described["kind"], described["status"], described["input"]) == (
        "workflow",
        "waiting",
        {"order": {"number": 7}},
    )

    watching = asyncio.create_task(holdfast_in_a_process("run", "watch", run, "--json"))
    sent = await holdfast("run", "signal", run, "parcel", '"train"', "--key", "only once", "--json")
    assert sent.json == {"id": run, "stored": True}
    code, lines = await watching
    assert code == 0
    assert '"output": "box 7 by train"' in lines[-1]
    again = await holdfast("run", "signal", run, "parcel", '"train"')
    assert again.code == 1
    assert "has ended" in again.err


async def test_watching_tells_each_step_and_ends_with_the_run(holdfast: Holdfast, worker: HostedWorker) -> None:
    run = (await holdfast("run", "start", "ship-order", 'order={"number": 13}')).out.strip()
    said = await holdfast("run", "watch", run)
    assert said.code == 1
    assert said.out.rstrip().endswith("failed")
    assert "nobody packs number 13" in said.err


async def test_an_activity_is_failed_and_completed_from_outside(
    holdfast: Holdfast, worker: HostedWorker, house: House, shop: Path
) -> None:
    run = (await holdfast("run", "start", "approve", "number=7")).out.strip()

    async def given(number: int) -> str:
        file = shop / f"token-{number}"
        await eventually(file.exists, "it was given away")
        return file.read_text()

    failed = await holdfast("run", "fail", await given(1), "nobody there", "--json")
    assert failed.json == {"id": run, "key": "approve#1", "attempt": 1}
    token = await given(2)
    wrong = await holdfast("run", "complete", token, '"perhaps"', "--app", "cli_shop:app")
    assert wrong.code == 2
    done = await holdfast("run", "complete", token, "true")
    assert (done.code, done.out) == (0, f"approve#1 of run {run}: attempt 2 is completed\n")
    await house.ended(uuid.UUID(run))
    again = await holdfast("run", "complete", token, "true")
    assert again.code == 1
    assert "has ended" in again.err
    nothing = await holdfast("run", "complete", "nothing")
    assert nothing.code == 2
    assert "is not the token of an activity" in nothing.err


async def test_cancelling(holdfast: Holdfast, house: House) -> None:
    run = (await holdfast("run", "start", "ship-order", "order:={}")).out.strip()
    first = await holdfast("run", "cancel", run, "--json")
    assert (first.code, first.json) == (0, {"id": run, "cancellation": "cancelled"})
    second = await holdfast("run", "cancel", run)
    assert (second.code, second.out) == (1, "it had ended before\n")


async def test_lists_come_in_pages_and_filtered(holdfast: Holdfast) -> None:
    ids = [(await holdfast("run", "start", "ship-order", f"n={n}", "--tag", f"n={n}")).out.strip() for n in range(3)]
    await holdfast("run", "cancel", ids[0])
    page = await holdfast("run", "list", "--limit", "2", "--json")
    assert [run["id"] for run in page.json["runs"]] == [ids[2], ids[1]]
    rest = await holdfast("run", "list", "--limit", "2", "--after", page.json["next"], "--json")
    assert ([run["id"] for run in rest.json["runs"]], rest.json["next"]) == ([ids[0]], None)
    found = await holdfast("run", "list", "--status", "cancelled,failed", "--since", "1h", "--json")
    assert [run["id"] for run in found.json["runs"]] == [ids[0]]
    tagged = await holdfast("run", "list", "--tag", "n=1")
    assert ids[1] in tagged.out
    assert ids[2] not in tagged.out
    none = await holdfast("run", "list", "--name", "nothing")
    assert none.out == "no runs\n"


async def test_there_is_no_such_run(holdfast: Holdfast) -> None:
    missing = uuid.uuid4()
    for arguments in (("show", missing), ("cancel", missing), ("signal", missing, "x"), ("watch", missing)):
        said = await holdfast("run", *arguments)
        assert (said.code, said.out) == (4, "")
        assert said.err == f"holdfast: there is no run {missing} in this database and schema\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("show", "17"), "'17' is not the id of a run"),
        (("start", "x", "--after", "soon"), "'soon' is not a duration"),
        (("start", "x", "--priority", "urgent"), "urgent"),
        (("start", "x", "--at", "2030-01-01", "--after", "1h"), "at and after are both given"),
        (("list", "--status", "happy"), "'happy' is not one of scheduled, ready"),
        (("signal", uuid.uuid4(), "x", "{"), "the payload is not JSON"),
    ],
)
async def test_words_that_cannot_be_understood_give_exit_code_2(
    holdfast: Holdfast, arguments: tuple[object, ...], words: str
) -> None:
    said = await holdfast("run", *arguments)
    assert (said.code, said.out) == (2, "")
    assert words in said.err
    assert "Traceback" not in said.err


async def holdfast_in_a_process(*arguments: str) -> tuple[int, list[str]]:
    """The command in a process of its own, for when two are under way."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "holdfast", *arguments, stdout=subprocess.PIPE, cwd=Path.cwd()
    )
    out, _ = await process.communicate()
    return process.returncode or 0, out.decode().splitlines()


@pytest.mark.parametrize("words", [("list",), ("show", str(uuid.UUID(int=1))), ("cancel", str(uuid.UUID(int=1)))])
async def test_a_command_that_only_looks_makes_no_schema(
    holdfast: Holdfast, house: House, words: tuple[str, ...]
) -> None:
    said = await holdfast("run", *words, "--schema", "mistyped")
    assert said.code == 3
    assert "no schema 'mistyped' in this database" in said.err
    assert not await house.value("select exists (select from pg_namespace where nspname = 'mistyped')")


async def test_an_update_prints_its_answer_and_a_state_is_shown(
    holdfast: Holdfast, worker: HostedWorker, house: House
) -> None:
    run = (await holdfast("run", "start", "scales")).out.strip()
    first = await holdfast("run", "update", run, "weigh", "40", "--key", "once", "--json")
    assert (first.code, first.json) == (0, {"id": run, "answer": "40 g"})
    assert (await holdfast("run", "update", run, "weigh", "40", "--key", "once")).out.strip() == '"40 g"'
    refused = await holdfast("run", "update", run, "weigh", "--", "-1")
    assert refused.code == 1
    assert "nothing weighs less than nothing" in refused.err
    assert '{"grams": 40}' in (await holdfast("run", "show", run)).out
    assert (await holdfast("run", "show", run, "--json")).json["state"] == {"total": {"grams": 40}}
    late = await holdfast("run", "update", run, "other", "1", "--at-most", "50ms")
    assert (late.code, "has not answered" in late.err) == (5, True)
    assert (await holdfast("run", "update", run, "weigh", "61")).out.strip() == '"101 g"'
    assert (await holdfast("run", "update", run, "weigh", "1")).code == 1
    missing = await holdfast("run", "update", uuid.uuid4(), "weigh", "1")
    assert missing.code == 4
