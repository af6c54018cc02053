"""What a run lets everybody know: durable in order with its outcomes, held up by nothing, holding nothing up."""

from __future__ import annotations

import asyncio
import base64
import json
from dataclasses import dataclass
from datetime import timedelta
from uuid import uuid4

import pytest

from holdfast import InvalidInput, RunNotFound, Signal, State, Unreadable, Unstorable, set_state, sleep
from holdfast.store.connect import connect
from tests.house import House, until
from tests.scenarios.soon import SOON

go = Signal[str]("go")


@dataclass
class Progress:
    done: int
    of: int


progress = State[Progress]("progress")


class Backwards:
    def encode(self, data: bytes) -> bytes:
        return base64.b64encode(data[::-1])

    def decode(self, data: bytes) -> bytes:
        return base64.b64decode(data)[::-1]


async def test_it_is_seen_while_an_activity_runs_while_the_run_is_parked_and_after_its_end(house: House) -> None:
    app = house.app()
    begun, may_end = asyncio.Event(), asyncio.Event()

    @app.activity
    async def work() -> None:
        begun.set()
        await may_end.wait()

    @app.workflow
    async def flow() -> None:
        progress.set(Progress(0, 2))
        await work()
        progress.set(Progress(1, 2))
        set_state("asked", "Ada")
        await go.wait()
        progress.set(Progress(2, 2))

    client = await house.client(app)
    run = await client.start(flow)
    assert await run.state(progress) is None
    await house.worker(app)
    await begun.wait()

    async def seen() -> bool:
        return await run.state(progress) == Progress(0, 2)

    await until(seen, "the state is seen while the activity runs")
    assert await run.state("progress") == {"done": 0, "of": 2}
    assert await run.state("asked") is None
    may_end.set()
    await house.until("select waits_inbox and bucket_id is null from holdfast.task where run_id = $1", run.id)
    # Durable with the park itself, not after it.
    assert await run.state(progress) == Progress(1, 2)
    assert await run.state("asked") == "Ada"
    await run.signal(go, "on")
    await run.result(timeout=SOON)
    assert await run.state(progress) == Progress(2, 2)
    assert (await run.describe()).state == {"asked": "Ada", "progress": {"done": 2, "of": 2}}
    seqs = await house.db.fetch("select key from holdfast.journal where run_id = $1 order by seq", run.id)
    assert [row["key"] for row in seqs] == [
        "state:progress#0",
        "work#1",
        "state:progress#1",
        "state:asked#1",
        "signal:go#1",
        "state:progress#2",
    ]
    await house.check_invariants()


@pytest.mark.parametrize("kept", [2000, 0], ids=["from memory", "by replay"])
async def test_it_is_written_once_however_often_the_run_is_replayed(house: House, kept: int) -> None:
    app = house.app()

    @app.activity
    async def step(number: int) -> int:
        return number

    @app.workflow
    async def flow() -> list[str]:
        heard: list[str] = []
        while len(heard) < 4:
            set_state("heard", len(heard))
            heard.append(await go.wait())
            await step(len(heard))
        return heard

    client = await house.client(app)
    await house.worker(app, cached_runs=kept)
    run = await client.start(flow)
    for number in range(4):
        await house.until("select waits_inbox and bucket_id is null from holdfast.task where run_id = $1", run.id)
        assert await run.state("heard") == number
        await run.signal(go, str(number))
        await house.until("select exists (select from holdfast.journal where key = $1)", f"step#{number + 1}")
    await run.result(timeout=SOON)
    keys = [key for key in await house.journal(run.id) if key.startswith("state:")]
    assert keys == ["state:heard#0", "state:heard#2", "state:heard#4", "state:heard#6"]
    await house.check_invariants()


async def test_states_between_steps_cost_no_commit_of_their_own(house: House) -> None:
    app = house.app()

    @app.activity
    async def step(number: int) -> int:
        return number

    @app.workflow
    async def flow(steps: int) -> None:
        for number in range(steps):
            set_state("number", number)
            await step(number)

    client = await house.client(app)
    worker = await house.worker(app)
    assert worker._worker is not None
    run = await client.start(flow, 30)
    await run.result(timeout=SOON)
    # A row gets the time of its flush: each state has that of the outcome that it went with.
    alone = await house.value(
        "select count(*) from holdfast.journal s where kind = 8 and not exists "
        "(select from holdfast.journal o where o.run_id = s.run_id and o.kind <> 8 and o.at = s.at)"
    )
    assert alone <= 3, "but for a step that took longer than its state could wait"
    await house.check_invariants()


async def test_with_a_codec_and_with_a_type_that_does_not_fit(house: House) -> None:
    app = house.app(codec=Backwards())

    @app.workflow
    async def flow() -> None:
        set_state("progress", {"done": "many"})
        set_state("plain", "secret")

    client = await house.client(app)
    await house.worker(app)
    run = await client.start(flow)
    await run.result(timeout=SOON)
    assert await run.state("plain") == "secret"
    stored = await house.value("select output from holdfast.journal where key = 'state:plain#0'")
    assert "secret" not in stored
    with pytest.raises(InvalidInput, match="'progress'"):
        await run.state(progress)
    blind = await house.client(house.app())
    with pytest.raises(Unreadable):
        await blind.get(run.id).state("plain")


async def test_a_value_that_the_settings_do_not_let_through_harms_nothing_else(house: House) -> None:
    app = house.app(payload_limit=2000)

    @app.workflow
    async def flow() -> str:
        set_state("large", "x" * 3000)
        set_state("small", "x")
        return "done"

    client = await house.client(app)
    await house.worker(app)
    run = await client.start(flow)
    assert await run.result(timeout=SOON) == "done"
    assert await run.state("small") == "x"
    with pytest.raises(Unstorable):
        await run.state("large")
    assert "small" in (await run.describe()).state


async def test_a_run_that_nobody_knows_and_a_key_that_cannot_be_one(house: House) -> None:
    app = house.app()
    client = await house.client(app)
    with pytest.raises(RunNotFound):
        await client.get(uuid4()).state("x")
    with pytest.raises(InvalidInput, match="the key of a state"):
        await client.get(uuid4()).state("")


async def test_it_survives_the_crash_of_its_worker(house: House) -> None:
    """Written late, it may be lost with its worker: then the next one writes it."""
    app = house.app()
    begun = asyncio.Event()

    @app.activity
    async def endless() -> None:
        begun.set()
        await asyncio.Event().wait()

    @app.workflow
    async def flow() -> None:
        await sleep(timedelta(milliseconds=1))
        set_state("phase", "working")
        await endless()

    client = await house.client(app)
    worker = await house.worker(app)
    run = await client.start(flow)
    await begun.wait()
    assert worker._worker is not None
    name = await house.value("select name from holdfast.worker")
    await house.expire_lease(name)
    begun.clear()
    await begun.wait()

    async def seen() -> bool:
        return bool(await run.state("phase") == "working")

    await until(seen, "the state of a run that was taken over")
    await run.cancel()
    other = await connect(house.dsn, application="tests")
    rows = await other.fetch("select output from holdfast.journal where kind = 8 order by seq")
    await other.close()
    assert [json.loads(row["output"]) for row in rows] == ["working"]
    await house.check_invariants()
