"""Invariant 9: how many runs at once, for each key and in all; exact at every commit, and nobody waits in vain."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest

from holdfast import App, Limit, Rate, Retry, RunStatus, Signal, activity_info, continue_as_new, sleep
from tests.house import House, eventually
from tests.limits.watching import BEGUN, frozen, watched
from tests.scenarios.soon import SOON

go = Signal[None]("go")


class Gate:
    """Jobs that wait for it, and what is seen of them from inside."""

    def __init__(self) -> None:
        self.opened = asyncio.Event()
        self.running: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        self.together = 0

    async def pass_through(self, customer: str) -> None:
        self.running[customer] += 1
        self.most[customer] = max(self.most[customer], self.running[customer])
        self.together = max(self.together, self.running.total())
        try:
            await self.opened.wait()
        finally:
            self.running[customer] -= 1


async def waiting(house: House, count: int) -> None:
    """Waits until so many runs stand in line for a permit."""
    await house.until("select count(*) = $1 from holdfast.permit_wait", count)


async def test_a_limit_holds_for_each_key_and_in_all_whatever_the_number_of_workers(house: House) -> None:
    app = house.app()
    gate = Gate()

    @app.activity(concurrency=[Limit(3, per="customer"), Limit(10)])
    async def serve(customer: str, number: int) -> int:
        await gate.pass_through(customer)
        return number

    client = await house.client(app)
    customers = ["a", "b", "c", "d", "e"]
    runs = await client.start_many([serve.call(one, n) for n in range(30) for one in customers])
    async with watched(house, "serve") as seen:
        for _ in range(3):
            await house.worker(app, parallelism_factor=3.0)
        # All that there are permits for, and no more.
        await eventually(lambda: gate.running.total() == 10, "ten are running")
        await waiting(house, len(runs) - 10)
        assert gate.running.total() == 10
        gate.opened.set()
        for number, run in enumerate(runs):
            assert await run.result(timeout=SOON) == number // len(customers)
    assert max(gate.most.values()) <= 3
    assert gate.together == 10
    assert max(seen.most.values()) == 3
    assert seen.together == 10
    assert seen.looks > 20
    await house.check_invariants()
    assert await house.value("select count(*) from holdfast.permit") == 0
    assert await house.value("select count(*) from holdfast.limit_key where key <> ''") == 0


async def test_each_key_is_served_first_come_first_served_and_one_does_not_wait_for_another(house: House) -> None:
    app = house.app()
    order: list[str] = []
    release: dict[str, asyncio.Semaphore] = {one: asyncio.Semaphore(0) for one in "ab"}

    @app.activity(concurrency=Limit(1, per="customer"))
    async def serve(customer: str, number: int) -> None:
        order.append(f"{customer}{number}")
        await release[customer].acquire()

    client = await house.client(app)
    await house.worker(app, parallelism_factor=2.0)
    runs = [await client.start(serve, "a", n) for n in range(6)]
    runs += [await client.start(serve, "b", n) for n in range(6)]
    await eventually(lambda: sorted(order) == ["a0", "b0"], "the first of each")
    for n in range(1, 6):
        release["b"].release()
        await eventually(lambda n=n: f"b{n}" in order, f"b{n} has begun")  # type: ignore[misc]
    release["b"].release()
    assert order == ["a0", "b0", "b1", "b2", "b3", "b4", "b5"] or order[:2] == ["b0", "a0"]
    for _ in range(6):
        release["a"].release()
    for run in runs:
        await run.result(timeout=SOON)
    assert [one for one in order if one.startswith("a")] == [f"a{n}" for n in range(6)]
    await house.check_invariants()


async def test_a_workflow_counts_from_its_first_claim_to_its_end_also_while_it_waits(house: House) -> None:
    app = house.app()

    @app.workflow(concurrency=2)
    async def tour(number: int) -> int:
        await sleep(timedelta(milliseconds=10))
        await go.wait()
        return number

    client = await house.client(app)
    await house.worker(app)
    runs = [await client.start(tour, n) for n in range(5)]
    async with watched(house, "tour", BEGUN) as seen:
        for n, run in enumerate(runs):
            await house.parked(*[one.id for one in runs[n : n + 2]])
            if n < 3:
                await waiting(house, 3 - n)
                assert await runs[n + 2].status() is RunStatus.WAITING
            await house.until("select waits_inbox from holdfast.task where run_id = $1", run.id)
            await house.check_invariants()
            await run.signal(go, None)
            assert await run.result(timeout=SOON) == n
    assert seen.together == 2
    await house.check_invariants()


async def test_between_two_attempts_a_job_holds_no_permit(house: House) -> None:
    app = house.app()
    fails = [True]  # once

    @app.activity(concurrency=1, retry=Retry(initial=timedelta(hours=1), maximum=timedelta(hours=1), jitter=0))
    async def serve(number: int) -> int:
        if number == 0 and fails:
            fails.clear()
            raise ConnectionError
        return number

    client = await house.client(app)
    await house.worker(app)
    first = await client.start(serve, 0)
    await house.until("select exists (select from holdfast.journal where kind = 2)")
    second = await client.start(serve, 1)
    assert await second.result(timeout=SOON) == 1
    await house.advance(timedelta(hours=1))
    assert await first.result(timeout=SOON) == 0
    await house.check_invariants()


async def blocked_by_one(house: House, app: App, *, count: int) -> tuple[Gate, Any, list[Any]]:
    """One job that holds the only permit, and others that wait for it."""
    gate = Gate()

    @app.activity(concurrency=1)
    async def serve(number: int) -> int:
        await gate.pass_through("")
        return number

    client = await house.client(app)
    await house.worker(app)
    first = await client.start(serve, 0)
    await house.held(first.id)
    runs = [await client.start(serve, n) for n in range(1, count + 1)]
    await waiting(house, count)
    return gate, first, runs


async def test_what_waits_can_be_cancelled_terminated_paused_and_resumed(house: House) -> None:
    gate, first, (one, two, three, four) = await blocked_by_one(house, house.app(), count=4)
    assert await one.status() is RunStatus.WAITING
    await one.cancel()
    await two.terminate()
    await three.pause()
    await house.check_invariants()
    await waiting(house, 1)
    assert await one.status() is RunStatus.CANCELLED
    assert await two.status() is RunStatus.CANCELLED
    assert await three.status() is RunStatus.PAUSED
    gate.opened.set()
    assert await first.result(timeout=SOON) == 0
    assert await four.result(timeout=SOON) == 4
    assert await three.status() is RunStatus.PAUSED
    await three.resume()
    assert await three.result(timeout=SOON) == 3
    await house.check_invariants()


async def test_what_waits_is_moved_to_another_line_or_time(house: House) -> None:
    gate, first, (one, two, three) = await blocked_by_one(house, house.app(), count=3)
    assert await one.reschedule(after=timedelta(hours=1)) == "done"
    assert await two.reschedule(lane="elsewhere") == "done"
    assert await three.reschedule(priority="high") == "done"
    await waiting(house, 1)
    await house.check_invariants()
    assert await house.value("select priority from holdfast.permit_wait") == 4
    assert await one.status() is RunStatus.SCHEDULED
    assert await two.status() is RunStatus.READY
    gate.opened.set()
    assert await first.result(timeout=SOON) == 0
    assert await three.result(timeout=SOON) == 3
    await house.advance(timedelta(hours=1))
    assert await one.result(timeout=SOON) == 1
    await house.check_invariants()


async def test_a_run_whose_timeout_passes_while_it_waits_ends(house: House) -> None:
    app = house.app()
    gate = Gate()

    @app.activity(concurrency=1)
    async def serve() -> None:
        await gate.pass_through("")

    client = await house.client(app)
    await house.worker(app)
    await house.held((await client.start(serve)).id)
    late = await client.start(serve, timeout=timedelta(hours=1))
    await waiting(house, 1)
    await house.advance(timedelta(hours=1))
    await house.ended(late.id)
    assert await late.status() is RunStatus.FAILED
    await house.check_invariants()
    assert await house.value("select count(*) from holdfast.permit_wait") == 0
    gate.opened.set()


async def test_a_parked_workflow_that_is_terminated_gives_its_permit_back(house: House) -> None:
    app = house.app()

    @app.workflow(concurrency=1)
    async def tour() -> str:
        await go.wait()
        return "done"

    client = await house.client(app)
    await house.worker(app)
    first = await client.start(tour)
    await house.parked(first.id)
    second = await client.start(tour)
    await waiting(house, 1)
    await first.terminate()
    await second.signal(go, None)
    assert await second.result(timeout=SOON) == "done"
    await house.check_invariants()


async def test_schedules_children_dispatched_activities_and_starts_from_sql_obey(house: House) -> None:
    app = house.app()
    gate = Gate()

    @app.activity(concurrency=Limit(2, per="customer"))
    async def serve(customer: str = "x") -> str:
        await gate.pass_through(customer)
        return customer

    @app.workflow(concurrency=Limit(1, name="doors"))
    async def door() -> str:
        return await serve("x")

    @app.workflow
    async def house_of_doors() -> list[str]:
        return list(await asyncio.gather(door(), door(), serve(), serve("x"), serve("y")))

    client = await house.client(app)
    await house.worker(app, parallelism_factor=2.0)
    run = await client.start(house_of_doors)
    sql = [await house.value("select holdfast.start('serve', $1)", text) for text in ("{}", '{"customer": "x"}')]
    named = await client.start_by_name("serve", {"customer": "x"})
    await client.schedules.create("soon", serve.call("x"), every=timedelta(hours=1))
    await client.schedules.trigger("soon")
    await eventually(lambda: gate.running == {"x": 2, "y": 1}, "two of one customer, one of the other")
    await house.until("select count(*) >= 5 from holdfast.permit_wait")
    assert gate.running == {"x": 2, "y": 1}
    gate.opened.set()
    assert await run.result(timeout=SOON) == ["x", "x", "x", "x", "y"]
    await house.ended(*sql, named.id)
    await house.until("select not exists (select from holdfast.task)")
    assert gate.most == {"x": 2, "y": 1}
    await house.check_invariants()


async def test_workflows_that_are_retried_rewound_and_forked_need_permits_like_any_others(house: House) -> None:
    app = house.app()
    gate = Gate()
    broken = True

    @app.activity
    async def prepare() -> None:
        pass

    @app.activity(retry=Retry(max_attempts=1))
    async def use() -> None:
        if broken:
            raise OSError("not yet")
        await gate.pass_through("x")

    @app.workflow(concurrency=1)
    async def tour() -> None:
        await prepare()
        await use()

    client = await house.client(app)
    await house.worker(app)
    runs = [await client.start(tour) for _ in range(4)]
    await house.ended(*(run.id for run in runs))
    broken = False
    again = [await run.retry() for run in runs[:2]]
    again += [await runs[2].rewind("use#1"), await runs[3].fork("use#1")]
    await eventually(lambda: gate.running["x"] == 1, "one of them goes on")
    await waiting(house, 3)
    await house.check_invariants()
    gate.opened.set()
    for run in again:
        await run.result(timeout=SOON)
    assert gate.together == 1
    await house.check_invariants()


async def test_what_goes_on_as_a_new_run_and_waits_for_its_rate_keeps_its_permit(house: House) -> None:
    app = house.app()

    @app.workflow(concurrency=1, rate=Rate(1, per=timedelta(seconds=1)))
    async def relay(left: int) -> str:
        if left:
            continue_as_new(left - 1)
        return "there"

    client = await house.client(app)
    clock = await frozen(house)
    await house.worker(app)
    run, other = await client.start(relay, 2), await client.start(relay, 0)
    for _ in range(2):
        await house.until("select count(*) = 1 from holdfast.permit_wait where name like 'rate %'")
        await house.check_invariants()
        await clock.advance(timedelta(seconds=1))
    assert await run.result(timeout=SOON) == "there"
    await house.until("select not exists (select from holdfast.permit)")
    await clock.advance(timedelta(seconds=1))
    assert await other.result(timeout=SOON) == "there"
    await house.check_invariants()


@pytest.mark.parametrize("per", ["customer", None])
async def test_what_is_started_by_its_name_obeys_also_when_it_is_tried_again(house: House, per: str | None) -> None:
    """Whoever starts it need not know that it is an activity: whoever executes it does."""
    app = house.app()
    gate = Gate()

    @app.activity(concurrency=Limit(1, per=per), retry=Retry(max_attempts=2, initial=timedelta(milliseconds=10)))
    async def serve(customer: str) -> None:
        if activity_info().attempt == 1:
            raise OSError("not yet")
        await gate.pass_through(customer)

    client = await house.client(app)
    await house.worker(app, parallelism_factor=2.0)
    sql = [await house.value("select holdfast.start('serve', '{\"customer\": \"x\"}')") for _ in range(2)]
    named = [await client.start_by_name("serve", {"customer": "x"}) for _ in range(2)]
    await eventually(lambda: gate.running["x"] == 1, "one has its second attempt")
    await waiting(house, 3)
    assert gate.together == 1
    gate.opened.set()
    await house.ended(*sql, *(run.id for run in named))
    assert gate.most == {"x": 1}
    # They are listed as what they are.
    assert {run.id for run in await client.list(kind="job")} == {*sql, *(run.id for run in named)}
    await house.check_invariants()


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('{"customer": "a\\u0000b"}', "a?b"),
        ('{"customer": "a", "note": "\\u0000"}', "a"),
        ('{"customer": null}', ""),
        ('{"customer": 1.50}', "1.50"),
        ('{"customer": {"id":  7}}', '{"id":  7}'),
        ('{"customer": "' + "x" * 3000 + '"}', "x" * 160 + "~"),
    ],
)
async def test_a_key_of_any_kind_is_a_key(house: House, text: str, key: str) -> None:
    app = house.app()
    gate = Gate()

    @app.activity(concurrency=Limit(1, per="customer"))
    async def serve(customer: Any, note: str = "") -> None:
        await gate.pass_through("")

    await house.worker(app)
    runs = [await house.value("select holdfast.start('serve', $1)", text) for _ in range(2)]
    await house.held(runs[0])
    await waiting(house, 1)
    assert str(await house.value("select key from holdfast.permit")).startswith(key)
    await house.check_invariants()
    gate.opened.set()
    await house.ended(*runs)
    await house.check_invariants()


async def test_what_continues_as_new_keeps_its_permit(house: House) -> None:
    app = house.app()
    turns: list[int] = []

    @app.workflow(concurrency=1)
    async def tour(turn: int) -> int:
        turns.append(turn)
        if turn == 0:
            await go.wait()
        if turn < 3:
            continue_as_new(turn + 1)
        return turn

    client = await house.client(app)
    await house.worker(app)
    first = await client.start(tour, 0)
    await house.parked(first.id)
    second = await client.start(tour, 10)
    await waiting(house, 1)
    await first.signal(go, None)
    assert await first.result(timeout=SOON) == 3
    assert await second.result(timeout=SOON) == 10
    assert list(dict.fromkeys(turns)) == [0, 1, 2, 3, 10]
    await house.check_invariants()


async def test_another_version_of_the_code_may_have_another_limit_or_none(house: House) -> None:
    def version(**limits: Any) -> App:
        app = house.app()

        @app.workflow(**limits)
        async def tour() -> None:
            await go.wait()

        return app

    old, new, without = version(concurrency=1), version(concurrency=3), version()
    client = await house.client(old)
    worker = await house.worker(old)
    runs = [await client.start_by_name("tour") for _ in range(6)]
    await waiting(house, 5)
    worker.stop()
    await house.until("select not exists (select from holdfast.worker where state = 'active')")
    worker = await house.worker(new)
    # Who has looked last has closed the lines: they open by themselves.
    await house.advance(timedelta(seconds=31))
    await house.until("select count(*) = 3 from holdfast.permit")
    await waiting(house, 3)
    await house.check_invariants()
    worker.stop()
    await house.until("select not exists (select from holdfast.worker where state = 'active')")
    await house.worker(without)
    await house.advance(timedelta(minutes=6))
    for run in runs:
        await run.signal(go, None)
    await house.ended(*[run.id for run in runs], patience=40)
    await house.check_invariants()


class Backwards:
    """A codec."""

    def encode(self, data: bytes) -> bytes:
        return data[::-1]

    def decode(self, data: bytes) -> bytes:
        return data[::-1]


async def test_a_sealed_input_has_its_key_beside_it(house: House) -> None:
    app = house.app(codec=Backwards())
    gate = Gate()

    @app.activity(concurrency=Limit(1, per="customer"))
    async def serve(customer: str) -> str:
        await gate.pass_through(customer)
        return customer

    @app.workflow(concurrency=Limit(1, per="customer"))
    async def child(customer: str) -> str:
        return await serve(customer)

    @app.workflow
    async def parent() -> list[str]:
        return list(await asyncio.gather(child("a"), child("b"), child("a"), serve("b")))

    client = await house.client(app)
    await house.worker(app)
    run = await client.start(parent)
    await eventually(lambda: gate.running == {"a": 1, "b": 1}, "one of each")
    await waiting(house, 2)
    more = [await client.start(serve, one) for one in "abc"]
    await eventually(lambda: gate.running == {"a": 1, "b": 1, "c": 1}, "one of each")
    gate.opened.set()
    assert await run.result(timeout=SOON) == ["a", "b", "a", "b"]
    assert [await one.result(timeout=SOON) for one in more] == ["a", "b", "c"]
    assert gate.most == {"a": 1, "b": 1, "c": 1}
    await house.check_invariants()


async def test_why_a_run_waits_for_a_permit(house: House) -> None:
    gate, first, (one, two) = await blocked_by_one(house, house.app(), count=2)
    stranger = await house.client(house.app())
    (reason,) = (await stranger.why(one.id)).reasons
    assert reason.kind == "limit"
    assert reason.what == "serve"
    assert reason.text == "waits for a permit of limit 'serve': 1 of 1 permits are taken; next in line"
    assert reason.remedy == f"held by {first.id}"
    (reason,) = (await stranger.why(two.id)).reasons
    assert reason.text.endswith("; one run is before it")
    gate.opened.set()
    await two.result(timeout=SOON)
