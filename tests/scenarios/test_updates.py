"""Updates: sent to a run in any state, recorded, answered once, and the answer waited for."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from holdfast import (
    App,
    Client,
    InvalidInput,
    ReplyTimeout,
    RunEnded,
    RunHandle,
    RunNotFound,
    Signal,
    Unstorable,
    Update,
    UpdateRejected,
    continue_as_new,
    sleep,
)
from tests.apps.ledger import Ledger
from tests.apps.tallies import app as tallies
from tests.apps.tallies import count_in, tally
from tests.house import House, eventually
from tests.scenarios.soon import SOON

TALLIES = "tests.apps.tallies"
LEASE = ("--lease", "2s", "--poll", "200ms")

go = Signal[str]("go")


@dataclass
class Decision:
    approved: bool
    by: str


@dataclass
class Receipt:
    number: int


class Unwelcome(Exception):
    pass


approve = Update[Decision, Receipt]("approve")
plain: Update[Any, Any] = Update("plain")
add = Update[int, int]("add")


@approve.validator
def nobody_is_not_welcome(decision: Decision) -> None:
    if decision.by == "nobody":
        raise Unwelcome("say who you are")


def registered(app: App, calls: Counter[str]) -> Any:
    @app.activity
    async def count(what: str) -> None:
        calls[what] += 1

    @app.workflow
    async def purchase(most: int) -> list[str]:
        by: list[str] = []
        async for call in approve.calls():
            await count(call.input.by)
            if call.input.by == "stranger":
                call.reject(Unwelcome("a stranger"))
            else:
                by.append(call.input.by)
                call.reply(Receipt(len(by)))
            if len(by) == most:
                return by
        raise AssertionError("updates come for ever")

    return purchase


@pytest.mark.parametrize("kept", [2000, 0], ids=["from memory", "by replay"])
async def test_to_a_parked_run_and_one_that_nobody_has_begun(house: House, kept: int) -> None:
    app = house.app()
    calls: Counter[str] = Counter()
    purchase = registered(app, calls)
    client = await house.client(app)
    run: RunHandle[list[str]] = await client.start(purchase, 3)
    early = asyncio.create_task(run.update(approve, Decision(True, "Ada")))
    await house.until("select count(*) = 1 from holdfast.inbox")
    await house.worker(app, cached_runs=kept)
    assert await early == Receipt(1)
    await house.until("select waits_inbox and bucket_id is null from holdfast.task where run_id = $1", run.id)
    assert await run.update(approve, Decision(True, "Bob"), timeout=SOON) == Receipt(2)
    with pytest.raises(UpdateRejected, match="a stranger") as rejected:
        await run.update(approve, Decision(True, "stranger"), timeout=SOON)
    assert isinstance(rejected.value.__cause__, Unwelcome)
    assert rejected.value.update == "approve"
    assert await run.update(approve, Decision(False, "Eve"), timeout=SOON) == Receipt(3)
    assert await run.result(timeout=SOON) == ["Ada", "Bob", "Eve"]
    assert calls == {"Ada": 1, "Bob": 1, "stranger": 1, "Eve": 1}
    keys = [key for key in await house.journal(run.id) if not key.startswith("count")]
    assert keys == [f"{word}#{n}" for n in range(1, 5) for word in ("update:approve", "reply")]
    await house.check_invariants()


async def test_to_a_held_run_whose_code_is_at_work(house: House) -> None:
    app = house.app()
    begun, may_end = asyncio.Event(), asyncio.Event()

    @app.activity
    async def work() -> None:
        begun.set()
        await may_end.wait()

    @app.workflow
    async def flow() -> int:
        total = 0

        async def listen() -> None:
            nonlocal total
            async for call in add.calls():
                total += call.input
                call.reply(total)

        listening = asyncio.create_task(listen())
        await work()
        listening.cancel()
        return total

    client = await house.client(app)
    await house.worker(app)
    run = await client.start(flow)
    await begun.wait()
    # Answered while the activity runs: an answer waits for nobody.
    assert [await run.update(add, n, timeout=SOON) for n in (1, 2, 3)] == [1, 3, 6]
    may_end.set()
    assert await run.result(timeout=SOON) == 6
    await house.check_invariants()


async def test_one_key_gives_one_answer_also_after_the_run_has_ended(house: House) -> None:
    app = house.app()
    calls: Counter[str] = Counter()
    purchase = registered(app, calls)
    client = await house.client(app)
    run: RunHandle[list[str]] = await client.start(purchase, 1)
    same = [asyncio.create_task(run.update(approve, Decision(True, "Ada"), key="click-1")) for _ in range(8)]
    await house.until("select count(*) = 1 from holdfast.inbox")
    await house.worker(app)
    assert await asyncio.gather(*same) == [Receipt(1)] * 8
    await run.result(timeout=SOON)
    assert await run.update(approve, Decision(True, "Ada"), key="click-1", timeout=SOON) == Receipt(1)
    with pytest.raises(RunEnded):
        await run.update(approve, Decision(True, "Ada"), key="click-2", timeout=SOON)
    # The key of a signal is another one.
    assert calls == {"Ada": 1}
    await house.check_invariants()


async def test_keys_of_updates_and_signals_do_not_meet(house: House) -> None:
    app = house.app()

    @app.workflow
    async def flow() -> list[Any]:
        heard: list[Any] = [await go.wait()]
        call = await plain.wait()
        call.reply("one")
        other = await add.wait()
        other.reply(2)
        return [*heard, call.input, other.input]

    client = await house.client(app)
    await house.worker(app)
    run = await client.start(flow)
    assert await run.signal(go, "on", key="k")
    assert await run.update(plain, {"any": "thing"}, key="k", timeout=SOON) == "one"
    assert await run.update(add, 5, key="k", timeout=SOON) == 2
    assert await run.result(timeout=SOON) == ["on", {"any": "thing"}, 5]
    await house.check_invariants()


@pytest.mark.parametrize("how", ["succeeds", "fails", "is cancelled", "is terminated", "is cancelled unbegun"])
async def test_a_run_that_ends_without_an_answer_says_how(house: House, how: str) -> None:
    app = house.app()

    @app.workflow
    async def silent() -> str:
        call = await add.wait()
        if how == "succeeds":
            return "not a word"
        if how == "fails":
            raise ValueError("no mood")
        await go.wait()
        call.reply(1)
        return "?"

    client = await house.client(app)
    run = await client.start(silent)
    asked = asyncio.create_task(run.update(add, 1))
    await house.until("select count(*) = 1 from holdfast.inbox")
    words = {"succeeds": "it has succeeded", "fails": "it failed with builtins:ValueError: no mood"}
    if how == "is cancelled unbegun":
        await run.cancel()
    else:
        await house.worker(app)
    if how in ("is cancelled", "is terminated"):
        await house.until("select waits_inbox and bucket_id is null from holdfast.task where run_id = $1", run.id)
        await (run.cancel() if how == "is cancelled" else run.terminate())
    with pytest.raises(RunEnded, match=f"without answering update 'add': {words.get(how, 'it was cancelled')}"):
        await asyncio.wait_for(asked, SOON.total_seconds())
    with pytest.raises(RunEnded):
        await run.update(add, 1)
    await house.check_invariants()


async def test_what_does_not_fit_is_not_sent_and_what_others_send_is_refused(house: House) -> None:
    app = house.app(payload_limit=2_000)
    purchase = registered(app, Counter())
    client = await house.client(app)
    await house.worker(app)
    run: RunHandle[list[str]] = await client.start(purchase, 1)
    wrong: Any = {"approved": "perhaps"}
    with pytest.raises(InvalidInput, match="'approve'"):
        await run.update(approve, wrong)
    with pytest.raises(UpdateRejected, match="say who you are") as rejected:
        await run.update(approve, Decision(True, "nobody"))
    assert isinstance(rejected.value.__cause__, Unwelcome)
    with pytest.raises(Unstorable):
        await run.update(approve, Decision(True, "x" * 3_000))
    for key, timeout in (("", None), (None, timedelta(seconds=-1))):
        with pytest.raises(InvalidInput):
            await run.update(approve, Decision(True, "Ada"), key=key, timeout=timeout)
    with pytest.raises(InvalidInput):
        await run.update_by_name("", 1)
    with pytest.raises(RunNotFound):
        await client.get(uuid4()).update(approve, Decision(True, "Ada"))
    assert await house.value("select inbox_count from holdfast.task") == 0, "nothing of that was sent"
    # Who sends without the type at hand is told by the run, which goes on.
    with pytest.raises(UpdateRejected, match="approved"):
        await run.update_by_name("approve", {"approved": "perhaps", "by": "Ada"}, timeout=SOON)
    with pytest.raises(UpdateRejected, match="say who you are"):
        await run.update_by_name("approve", {"approved": True, "by": "nobody"}, timeout=SOON)
    assert await run.update_by_name("approve", {"approved": True, "by": "Ada"}, timeout=SOON) == {"number": 1}
    assert await run.result(timeout=SOON) == ["Ada"]
    await house.check_invariants()


async def test_an_answer_that_cannot_be_stored_is_a_refusal_that_says_so(house: House) -> None:
    app = house.app(payload_limit=2_000)

    @app.workflow
    async def wordy() -> str:
        call = await plain.wait()
        call.reply("x" * 3_000)
        return "done"

    client = await house.client(app)
    await house.worker(app)
    run = await client.start(wordy)
    with pytest.raises(UpdateRejected, match="payload_limit"):
        await run.update(plain, 1, timeout=SOON)
    assert await run.result(timeout=SOON) == "done"


async def test_a_time_limit_leaves_the_update_with_the_run(house: House) -> None:
    app = house.app()

    @app.workflow
    async def slow() -> None:
        call = await add.wait()
        await go.wait()
        call.reply(call.input * 2)

    client = await house.client(app)
    await house.worker(app)
    run = await client.start(slow)
    with pytest.raises(ReplyTimeout, match=r"has not answered update 'add' after 0\.05 s"):
        await run.update(add, 4, key="once", timeout=timedelta(milliseconds=50))
    assert client._context.replies.open == 0
    await run.signal(go, "on")
    assert await run.update(add, 4, key="once", timeout=SOON) == 8


@pytest.mark.parametrize("hints", [True, False])
async def test_a_thousand_who_wait_cost_a_handful_of_statements(
    house: House, hints: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = house.app()

    @app.workflow
    async def counter() -> int:
        calls = [await add.wait() for _ in range(1_000)]
        await go.wait()
        for call in calls:
            call.reply(call.input + 1)
        return len(calls)

    async with app.client(hints=hints) as client:
        run = await client.start(counter)
        asked = [asyncio.create_task(run.update(add, n)) for n in range(1_000)]
        await house.until("select inbox_count = 1000 from holdfast.task", patience=60.0)
        await house.worker(app, hints=hints)
        await house.until("select waits_inbox and bucket_id is null from holdfast.task where run_id = $1", run.id)
        await eventually(lambda: client._context.replies.lookout.settled, "all were looked for")
        looks = 0
        look = client._context.replies.look_at_all

        async def counted(session: Any) -> bool:
            nonlocal looks
            looks += 1
            return await look(session)

        monkeypatch.setattr(client._context.replies, "look_at_all", counted)
        await run.signal(go, "now")
        assert await asyncio.wait_for(asyncio.gather(*asked), 30) == list(range(1, 1_001))
        assert looks <= 5
        assert await run.result(timeout=SOON) == 1_000
    await house.check_invariants()


async def test_with_a_crash_between_what_it_does_and_its_answer(house: House) -> None:
    """The update was taken and its activity recorded: whoever goes on answers, and does it once."""
    app = house.app()
    reached = asyncio.Event()

    @app.activity
    async def pause() -> None:
        reached.set()
        await asyncio.Event().wait() if not crashed else None

    crashed: list[bool] = []

    @app.workflow
    async def flow() -> int:
        call = await add.wait()
        await pause()
        call.reply(call.input + 1)
        await sleep(0.01)
        return call.input

    client = await house.client(app)
    await house.worker(app)
    run = await client.start(flow)
    asked = asyncio.create_task(run.update(add, 1))
    await reached.wait()
    crashed.append(True)
    await house.expire_lease(await house.value("select name from holdfast.worker where state = 'active'"))
    assert await asyncio.wait_for(asked, SOON.total_seconds()) == 2
    assert await run.result(timeout=SOON) == 1
    assert [key for key in await house.journal(run.id) if key.startswith("reply")] == ["reply#1"]
    await house.check_invariants()


async def test_from_sql(house: House) -> None:
    app = house.app()
    purchase = registered(app, Counter())
    client = await house.client(app)
    run: RunHandle[list[str]] = await client.start(purchase, 1)
    sent = await house.db.fetchrow(
        "select * from holdfast.update($1, 'approve', $2::text::json, 'k')", run.id, '{"approved":true,"by":"Ada"}'
    )
    again = await house.db.fetchrow("select * from holdfast.update($1, 'approve', key => 'k')", run.id)
    assert sent == again
    assert sent is not None
    assert (sent["run"], sent["number"]) == (run.id, 1)
    assert await house.value("select holdfast.reply($1, 1)", run.id) is None
    bad = await house.db.fetchrow("select * from holdfast.update($1, 'approve', '5')", run.id)
    assert bad is not None
    await house.worker(app)
    await run.result(timeout=SOON)
    assert await house.value("select holdfast.reply($1, 1)", run.id) == '{"number":1}'
    with pytest.raises(asyncpg.PostgresError, match="ended without an answer"):
        await house.value("select holdfast.reply($1, 2)", run.id)
    with pytest.raises(asyncpg.PostgresError, match="has ended"):
        await house.value("select holdfast.update($1, 'approve')", run.id)
    with pytest.raises(asyncpg.PostgresError, match="there is no run"):
        await house.value("select holdfast.update($1, 'approve')", uuid4())
    with pytest.raises(asyncpg.PostgresError, match="needs a name"):
        await house.value("select holdfast.update($1, '')", run.id)
    assert await house.value("select number from holdfast.update($1, 'approve', key => 'k')", run.id) == 1
    await house.check_invariants()


async def test_a_rewound_run_answers_whoever_waits(house: House, tmp_path: Path) -> None:
    """What was sent since is sent to the run that takes its place, under its number: the wait follows it."""
    app = house.app()

    @app.activity
    async def step() -> int:
        return 1

    @app.workflow
    async def flow() -> int:
        await step()
        call = await add.wait()
        await go.wait()
        call.reply(call.input + 1)
        return call.input

    client: Client = await house.client(app)
    await house.worker(app)
    run = await client.start(flow)
    asked = asyncio.create_task(run.update(add, 1))
    await house.until("select exists (select from holdfast.journal where key = 'update:add#1')")
    await house.until("select waits_inbox and bucket_id is null from holdfast.task where run_id = $1", run.id)
    newer = await run.rewind("step#1")
    await house.until("select waits_inbox and bucket_id is null from holdfast.task where run_id = $1", newer.id)
    assert not asked.done()
    await newer.signal(go, "on")
    assert await asyncio.wait_for(asked, SOON.total_seconds()) == 2
    assert await run.result(timeout=SOON) == 1
    assert await house.value("select holdfast.reply($1, 1)", run.id) == "2"
    await house.check_invariants()


@pytest.mark.parametrize("kept", [2000, 0], ids=["from memory", "by replay"])
async def test_a_run_that_continues_as_new_hands_on_what_it_has_not_taken(house: House, kept: int) -> None:
    app = house.app()

    @app.workflow
    async def flow(round: int) -> int:
        call = await add.wait()
        silent = await plain.wait()
        call.reply(call.input + 100 * round)
        if round < 3:
            continue_as_new(round + 1)
        silent.reply("at last")
        return round

    client = await house.client(app)
    await house.worker(app, cached_runs=kept)
    run = await client.start(flow, 1)
    asked = [asyncio.create_task(run.update(add, n, key=f"n{n}")) for n in (1, 2, 3)]
    await house.until("select count(*) = 3 from holdfast.journal where kind = 9")
    first = asyncio.create_task(run.update(plain, 1, key="first"))
    with pytest.raises(RunEnded, match="without answering update 'plain': it goes on as a new run"):
        await asyncio.wait_for(first, SOON.total_seconds())
    # Its number is that of another one by now, and its key is known all the same.
    with pytest.raises(RunEnded, match="without answering update 'plain': it goes on as a new run"):
        await run.update(plain, 1, key="first", timeout=SOON)
    with pytest.raises(RunEnded):
        await run.update(plain, 2, timeout=SOON)
    assert await run.update(plain, 3, key="last", timeout=SOON) == "at last"
    answers = sorted(await asyncio.gather(*asked))
    assert [answer // 100 for answer in answers] == [1, 2, 3]
    assert sorted(answer % 100 for answer in answers) == [1, 2, 3]
    assert await run.result(timeout=SOON) == 3
    for n, task in enumerate(asked, 1):
        assert await run.update(add, n, key=f"n{n}", timeout=SOON) == task.result()
    assert await run.update(plain, 3, key="last", timeout=SOON) == "at last"
    await house.check_invariants()


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger")


async def test_a_worker_that_is_killed_between_an_update_and_its_answer(house: House, ledger: Ledger) -> None:
    """R1: the update was taken, and what it asks for has begun; another process answers, once."""
    tallies.override(origin="the test", database_url=house.dsn)
    client = await house.client(tallies)
    first = await house.process(TALLIES, *LEASE, env=ledger.env)
    run = await client.start(tally.call(2, holds=1))
    asked = asyncio.create_task(run.update(count_in, 5))
    await eventually(lambda: ledger.lines() == ["weigh#1 1"], "the update is at work")
    assert await house.journal(run.id) == ["update:count in#1"]
    await first.kill()
    await house.process(TALLIES, *LEASE, env=ledger.env)
    assert await asyncio.wait_for(asked, SOON.total_seconds()) == 5
    assert await run.update(count_in, 6, timeout=SOON) == 11
    assert await run.result(timeout=SOON) == 11
    assert ledger.lines() == ["weigh#1 1", "weigh#1 1", "weigh#2 1"], "only what was not recorded was done again"
    await house.check_invariants()


@pytest.mark.parametrize("seed", [1, 2])
async def test_while_workers_are_killed_every_update_is_answered_once(house: House, ledger: Ledger, seed: int) -> None:
    chance = random.Random(seed)
    tallies.override(origin="the test", database_url=house.dsn)
    client = await house.client(tallies)
    workers = [await house.process(TALLIES, *LEASE, env=ledger.env) for _ in range(2)]
    runs = [await client.start(tally, 20) for _ in range(4)]
    asked = {
        (run.id, n): asyncio.create_task(run.update(count_in, n, key=f"n{n}")) for run in runs for n in range(1, 21)
    }

    def at_work(target: int) -> bool:
        return len(ledger.lines()) >= target

    for _ in range(4):
        target = min(len(ledger.lines()) + chance.randint(3, 20), 70)
        await eventually(partial(at_work, target), "some are at work")
        await workers.pop(chance.randrange(len(workers))).kill()
        workers.append(await house.process(TALLIES, *LEASE, env=ledger.env))
    async with asyncio.timeout(60):
        await asyncio.gather(*asked.values())
        assert [await run.result(timeout=SOON) for run in runs] == [210] * 4
    for run in runs:
        told = {n: task.result() for (run_id, n), task in asked.items() if run_id == run.id}
        # Each saw what came before it and itself: in some order each was counted once.
        in_order = sorted(told, key=lambda n: told[n])
        assert [told[n] for n in in_order] == list(itertools.accumulate(in_order))
        assert {n: await run.update(count_in, n, key=f"n{n}", timeout=SOON) for n in told} == told
        assert len([key for key in await house.journal(run.id) if key.startswith("reply#")]) == 20
    await house.check_invariants()


async def test_an_update_that_was_exported_is_replayed(house: House) -> None:
    app = house.app()
    purchase = registered(app, Counter())
    client = await house.client(app)
    await house.worker(app)
    run: RunHandle[list[str]] = await client.start(purchase, 1)
    await run.update(approve, Decision(True, "Ada"), timeout=SOON)
    await run.result(timeout=SOON)
    exported = await run.export()
    report = app.check([exported])
    assert (report.replayed, report.breaks) == (1, [])
