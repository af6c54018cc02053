"""Middleware stands around starts, activities and workflow passes, and headers travel with the run."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from holdfast import (
    ActivityInfo,
    ActivityTimedOut,
    App,
    CallNext,
    Connection,
    DefinitionError,
    GiveUp,
    HoldfastError,
    InvalidInput,
    Middleware,
    PassOutcome,
    Retry,
    RunFailed,
    Signal,
    Starting,
    WorkflowPass,
    activity_info,
    complete_later,
    fan_out,
    heartbeat,
    run_info,
    start_child,
)
from tests.apps.headed import digest, later, where
from tests.house import House, eventually

tenant: contextvars.ContextVar[str] = contextvars.ContextVar("tenant", default="nobody")
ONCE = Retry(max_attempts=1)


class Recorder(Middleware):
    """Notes what it sees."""

    def __init__(self, name: str = "") -> None:
        self.name = name
        self.seen: list[str] = []
        self.outcomes: list[PassOutcome] = []
        self.passes: list[WorkflowPass] = []

    async def start(self, starting: Starting, call_next: CallNext[Sequence[UUID]]) -> Sequence[UUID]:
        self.seen.append(f"{self.name}start {','.join(starting.names)} {starting.count}")
        return await call_next()

    async def activity(self, info: ActivityInfo, call_next: CallNext[Any]) -> Any:
        self.seen.append(f"{self.name}> {info.key}@{info.attempt}")
        try:
            return await call_next()
        finally:
            self.seen.append(f"{self.name}< {info.key}@{info.attempt}")

    async def workflow_pass(self, passing: WorkflowPass, call_next: CallNext[PassOutcome]) -> PassOutcome:
        self.seen.append(f"{self.name}> {passing.run.name}")
        self.passes.append(passing)
        outcome = await call_next()
        self.seen.append(f"{self.name}< {passing.run.name}")
        self.outcomes.append(outcome)
        return outcome


class Tenancy(Middleware):
    """Takes the tenant from where the start is made to where the activity runs."""

    async def start(self, starting: Starting, call_next: CallNext[Sequence[UUID]]) -> Sequence[UUID]:
        starting.headers["tenant"] = tenant.get()
        return await call_next()

    async def activity(self, info: ActivityInfo, call_next: CallNext[Any]) -> Any:
        tenant.set(info.headers.get("tenant", "nobody"))
        return await call_next()


async def test_it_stands_around_each_in_the_order_of_use(house: House) -> None:
    app = house.app()
    outer, inner = Recorder("outer "), Recorder("inner ")
    inner.seen = outer.seen
    app.use(outer)
    app.use(inner)

    @app.activity
    async def charge() -> int:
        outer.seen.append("charge")
        return 7

    @app.workflow
    async def order() -> int:
        return await charge()

    client = await house.client(app)
    async with app.worker(skip_warm_up=True):
        assert await (await client.start(order)).result() == 7
        await eventually(lambda: len(inner.outcomes) == len(outer.outcomes) == 1, "the pass is over")
    assert outer.seen == [
        "outer start order 1",
        "inner start order 1",
        "outer > order",
        "inner > order",
        "outer > charge#1@1",
        "inner > charge#1@1",
        "charge",
        "inner < charge#1@1",
        "outer < charge#1@1",
        "inner < order",
        "outer < order",
    ]
    assert [one.ending for one in outer.outcomes] == ["succeeded"]


async def test_headers_travel_from_the_client_to_workflow_activities_and_children(house: House) -> None:
    app = house.app()
    app.use(Tenancy())

    @app.activity
    async def on_the_loop() -> list[str]:
        return [tenant.get(), activity_info().headers["tenant"]]

    @app.activity
    def in_a_thread() -> list[str]:
        return [tenant.get(), activity_info().headers["tenant"]]

    @app.activity(transactional=True)
    async def in_a_transaction(db: Connection) -> list[str]:
        return [tenant.get(), activity_info().headers["tenant"]]

    @app.workflow
    async def leaf() -> list[str]:
        return [run_info().headers["tenant"], *await on_the_loop()]

    @app.workflow
    async def tree() -> list[list[str]]:
        handle = await start_child(leaf)
        return [
            [run_info().headers["tenant"], run_info().headers["locale"]],
            await on_the_loop(),
            await in_a_thread(),
            await in_a_transaction(),
            await leaf(),
            await handle.result(),
        ]

    client = await house.client(app)
    await house.worker(app)
    tenant.set("acme")
    run = await client.start(tree, headers={"locale": "de"})
    tenant.set("umbrella")
    assert await run.result() == [["acme", "de"], *[["acme"] * 2] * 3, *[["acme"] * 3] * 2]
    # A job, and one with a key.
    assert await (await client.start(in_a_thread)).result() == ["umbrella"] * 2
    assert await (await client.start(on_the_loop, key="k")).result() == ["umbrella"] * 2
    many = await client.start_many([on_the_loop.call() for _ in range(3)])
    assert [await one.result() for one in many] == [["umbrella"] * 2] * 3
    keyed = await client.start_many([on_the_loop.call() for _ in range(2)], keys=["a", "b"])
    assert [await one.result() for one in keyed] == [["umbrella"] * 2] * 2
    async with house.db.transaction():
        inside = await client.start(in_a_thread, connection=house.db)
    assert await inside.result() == ["umbrella"] * 2
    await house.check_invariants()


async def test_a_process_of_its_own_gets_the_headers_and_its_middleware_stands_around_it(house: House) -> None:
    app = house.app()
    app.use(Tenancy())
    recorder = Recorder()
    app.use(recorder)
    there = app.activity(isolation="process", retry=ONCE)(where)
    client = await house.client(app)
    await house.worker(app)
    tenant.set("acme")
    pid, header = await (await client.start(there, "fine")).result(timeout=timedelta(seconds=60))
    assert header == "acme"
    assert pid != 0
    run = await client.start(there, "raise")
    with pytest.raises(RunFailed, match="no such place"):
        await run.result(timeout=timedelta(seconds=60))
    assert recorder.seen.count("> where#1@1") == 2
    assert recorder.seen.count("< where#1@1") == 2


async def test_a_process_that_takes_too_long_is_killed_inside_of_middleware_too(house: House) -> None:
    app = house.app()
    recorder = Recorder()
    app.use(recorder)
    slow = app.activity(isolation="process", timeout=timedelta(milliseconds=200), retry=ONCE)(where)
    client = await house.client(app)
    await house.worker(app)
    run = await client.start(slow, "sleep")
    with pytest.raises(RunFailed, match="took longer"):
        await run.result(timeout=timedelta(seconds=60))
    assert recorder.seen[-1] == "< where#1@1"


async def test_headers_stay_with_a_run_that_is_retried_or_forked(house: House) -> None:
    app = house.app()
    healed: list[bool] = []

    @app.activity(retry=ONCE)
    async def fragile() -> str:
        if not healed:
            raise ValueError("broken")
        return activity_info().headers["tenant"]

    @app.workflow
    async def flow() -> str:
        return await fragile() + run_info().headers["tenant"]

    client = await house.client(app)
    await house.worker(app)
    run = await client.start(flow, headers={"tenant": "acme"})
    with pytest.raises(RunFailed):
        await run.result()
    healed.append(True)
    again = await run.retry()
    assert await again.result() == "acmeacme"
    assert await (await again.fork(from_="fragile#1")).result() == "acmeacme"


async def test_what_a_pass_puts_out_goes_to_its_activities_and_children_and_not_to_its_code(house: House) -> None:
    app = house.app()

    class Stamp(Middleware):
        async def workflow_pass(self, passing: WorkflowPass, call_next: CallNext[PassOutcome]) -> PassOutcome:
            before = passing.outgoing.get("path", "")
            passing.outgoing["path"] = f"{before}/{passing.run.name}"
            return await call_next()

    app.use(Stamp())

    @app.activity
    async def path() -> str:
        return activity_info().headers["path"]

    @app.workflow
    async def leaf() -> list[str]:
        return [run_info().headers["path"], await path()]

    @app.workflow
    async def root() -> list[Any]:
        return ["path" in run_info().headers, await path(), *await leaf()]

    client = await house.client(app)
    await house.worker(app)
    assert await (await client.start(root)).result() == [False, "/root", "/root", "/root/leaf"]


async def test_a_pass_is_one_claim_and_says_how_it_was_over(house: House) -> None:
    app = house.app()
    recorder = Recorder()
    app.use(recorder)
    go = Signal[str]("go")

    @app.activity
    async def noop() -> None: ...

    @app.workflow
    async def waiting() -> str:
        await noop()
        await noop()
        word = await go.wait()
        if word == "fail":
            raise LookupError("nothing there")
        return word

    client = await house.client(app)
    await house.worker(app)
    for word, ending in (("fine", "succeeded"), ("fail", "failed")):
        recorder.outcomes.clear()
        recorder.passes.clear()
        run = await client.start(waiting)
        await house.parked(run.id)
        await run.signal(go, word)
        await house.ended(run.id)
        await eventually(lambda: len(recorder.outcomes) == 2, "both passes are over")
        assert [one.ending for one in recorder.outcomes] == ["parked", ending]
        assert [one.number for one in recorder.passes] == [1, 2]
        assert recorder.passes[0].run.run_id == run.id
    last = recorder.outcomes[-1]
    assert (last.error_type, last.error_message) == ("builtins:LookupError", "nothing there")
    assert last.traceback is not None
    assert "in waiting" in last.traceback


async def test_middleware_of_a_pass_that_fails_or_hangs_changes_nothing_of_the_run(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    app = house.app()

    class Broken(Middleware):
        async def workflow_pass(self, passing: WorkflowPass, call_next: CallNext[PassOutcome]) -> PassOutcome:
            match passing.run.tags["how"]:
                case "before":
                    raise RuntimeError("before")
                case "after":
                    await call_next()
                    raise RuntimeError("after")
                case "never":
                    return PassOutcome(ending="failed")
                case _:
                    await call_next()
                    return await call_next()

    app.use(Broken())

    @app.activity
    async def noop() -> int:
        return 3

    @app.workflow
    async def flow() -> int:
        return await noop() + await noop()

    client = await house.client(app)
    await house.worker(app)
    for how in ("before", "after", "never", "twice"):
        run = await client.start(flow, tags={"how": how})
        assert await run.result() == 6
    await eventually(lambda: caplog.text.count("the middleware of run") == 3, "three failures are logged")
    assert "a second time" in caplog.text
    await house.check_invariants()


async def test_a_letter_does_not_let_a_run_in_before_its_middleware_does(house: House) -> None:
    app = house.app()
    entered = asyncio.Event()
    may_enter = asyncio.Event()
    order: list[str] = []
    go = Signal[str]("go")

    class Slow(Middleware):
        async def workflow_pass(self, passing: WorkflowPass, call_next: CallNext[PassOutcome]) -> PassOutcome:
            entered.set()
            await may_enter.wait()
            order.append("let in")
            return await call_next()

    app.use(Slow())

    @app.workflow
    async def flow() -> str:
        order.append("in")
        return await go.wait()

    client = await house.client(app)
    worker = await house.worker(app)
    run = await client.start(flow)
    await entered.wait()
    await run.signal(go, "now")
    tenure = worker._worker.tenure if worker._worker else None
    assert tenure is not None
    (held,) = tenure._holdings.held.values()
    # The letter was read, and waits with the run.
    await eventually(lambda: held._letterbox.unread, "the letter is here")  # type: ignore[attr-defined]
    assert order == []
    may_enter.set()
    assert await run.result() == "now"
    assert order == ["let in", "in"]


async def test_a_worker_that_stops_does_not_wait_for_a_pass_that_was_not_let_in(house: House) -> None:
    app = house.app()
    entered = asyncio.Event()

    class Hanging(Middleware):
        async def workflow_pass(self, passing: WorkflowPass, call_next: CallNext[PassOutcome]) -> PassOutcome:
            entered.set()
            await asyncio.get_running_loop().create_future()
            return await call_next()

    plain = house.app()
    app.use(Hanging())

    async def flow() -> str:
        return "done"

    app.workflow(flow)
    plain.workflow(flow)
    client = await house.client(app)
    async with app.worker(skip_warm_up=True):
        run = await client.start_by_name("flow")
        await entered.wait()
    await house.until("select bucket_id is null from holdfast.task where run_id = $1", run.id)
    await house.worker(plain)
    assert await run.result() == "done"
    await house.check_invariants()


async def test_a_lost_run_says_so_to_the_middleware_of_its_pass(house: House) -> None:
    app = house.app()
    recorder = Recorder()
    app.use(recorder)
    begun, goes_on = asyncio.Event(), asyncio.Event()

    @app.activity
    async def wait() -> str:
        begun.set()
        await goes_on.wait()
        return "done"

    @app.workflow
    async def flow() -> str:
        return await wait()

    client = await house.client(app)
    worker = await house.worker(app)
    run = await client.start(flow)
    await begun.wait()
    assert worker._worker is not None
    name = worker._worker.name
    assert name is not None
    await house.expire_lease(name)
    goes_on.set()
    assert await run.result() == "done"
    await eventually(lambda: len(recorder.outcomes) == 2, "both passes are over")
    assert [one.ending for one in recorder.outcomes] == ["lost", "succeeded"]
    await house.check_invariants()


async def test_an_activity_can_be_refused_given_another_value_or_left_out(house: House) -> None:
    app = house.app()

    class Gate(Middleware):
        async def activity(self, info: ActivityInfo, call_next: CallNext[Any]) -> Any:
            match info.headers.get("gate"):
                case "closed":
                    raise GiveUp("not for you")
                case "double":
                    return await call_next() * 2
                case "skip":
                    return -1
                case _:
                    return await call_next()

    app.use(Gate())
    called: list[str] = []

    @app.activity
    async def on_the_loop() -> int:
        called.append("loop")
        return 4

    @app.activity
    def in_a_thread() -> int:
        called.append("thread")
        return 4

    client = await house.client(app)
    await house.worker(app)
    for job in (on_the_loop, in_a_thread):
        called.clear()
        closed = await client.start(job, headers={"gate": "closed"})
        with pytest.raises(RunFailed, match="not for you"):
            await closed.result()
        assert await (await client.start(job, headers={"gate": "skip"})).result() == -1
        assert called == []
        assert await (await client.start(job, headers={"gate": "double"})).result() == 8
        assert await (await client.start(job)).result() == 4
        assert len(called) == 2


async def test_a_thread_in_middleware_keeps_its_place_until_it_returns(house: House) -> None:
    app = house.app()
    recorder = Recorder()
    app.use(recorder)
    may_return, noticed = threading.Event(), threading.Event()

    @app.activity(timeout=timedelta(milliseconds=100), retry=ONCE)
    def stubborn() -> None:
        may_return.wait(20)
        if activity_info().cancelled and not heartbeat():
            noticed.set()

    @app.activity
    def quick() -> str:
        return "quick"

    client = await house.client(app)
    await house.worker(app, max_threads=1)
    run = await client.start(stubborn)
    with pytest.raises(RunFailed, match="took longer"):
        await run.result()
    assert recorder.seen[-1] == "< stubborn#1@1"
    waiting = await client.start(quick)
    await house.held(waiting.id)
    assert await waiting.status() != "succeeded"
    may_return.set()
    assert await waiting.result() == "quick"
    assert noticed.is_set()


async def test_an_attempt_is_timed_with_its_middleware(house: House) -> None:
    app = house.app()

    class Endless(Middleware):
        async def activity(self, info: ActivityInfo, call_next: CallNext[Any]) -> Any:
            await asyncio.get_running_loop().create_future()

    app.use(Endless())

    @app.activity(timeout=timedelta(milliseconds=50), retry=ONCE)
    async def ask() -> None: ...

    @app.workflow
    async def flow() -> str:
        try:
            await ask()
        except ActivityTimedOut:
            return "timed out"
        return "done"

    client = await house.client(app)
    await house.worker(app)
    assert await (await client.start(flow)).result() == "timed out"


async def test_a_start_that_is_refused_starts_nothing(house: House) -> None:
    app = house.app()

    class Refuse(Middleware):
        async def start(self, starting: Starting, call_next: CallNext[Sequence[UUID]]) -> Sequence[UUID]:
            match starting.key:
                case "raise":
                    raise PermissionError("not you")
                case "silent":
                    return []
                case "bad":
                    starting.headers["n"] = 1  # type: ignore[assignment]
                    return await call_next()
                case "large":
                    starting.headers["n"] = "x" * 10_000
                    return await call_next()
                case _:
                    return await call_next()

    app.use(Refuse())

    @app.workflow
    async def flow() -> None: ...

    client = await house.client(app)
    for key, error, words in (
        ("raise", PermissionError, "not you"),
        ("silent", HoldfastError, "without call_next"),
        ("bad", InvalidInput, "use text for both"),
        ("large", InvalidInput, "8192 at most"),
    ):
        with pytest.raises(error, match=words):
            await client.start(flow, key=key)
    assert await house.value("select count(*) from holdfast.run") == 0
    await client.start(flow, key="fine")
    assert await house.value("select count(*) from holdfast.run") == 1


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        ({"a": 1}, "use text for both"),
        ({1: "a"}, "use text for both"),
        ({"a": "\0"}, "cannot be stored"),
        ({"a": "\ud800"}, "cannot be stored"),
        (["a"], "a mapping of text to text"),
        ({"a": "ä" * 3000}, "8192 at most"),
    ],
)
async def test_headers_that_cannot_be_used_are_refused(house: House, headers: Any, words: str) -> None:
    app = house.app()

    @app.workflow
    async def flow() -> None: ...

    client = await house.client(app)
    with pytest.raises(InvalidInput, match=words):
        await client.start(flow, headers=headers)
    with pytest.raises(InvalidInput, match=words):
        await client.start_by_name("flow", headers=headers)
    with pytest.raises(InvalidInput, match=words):
        await client.start_many([flow.call()], headers=headers)


async def test_without_headers_nothing_is_stored_of_them(house: House) -> None:
    app = house.app()

    @app.workflow
    async def child() -> dict[str, str]:
        return dict(run_info().headers)

    @app.workflow
    async def flow() -> dict[str, str]:
        return await child()

    client = await house.client(app)
    await house.worker(app)
    assert await (await client.start(flow)).result() == {}
    assert await house.value("select count(*) from holdfast.run where options is not null") == 0


async def test_one_with_headers_is_still_closed_with_its_parent(house: House) -> None:
    app = house.app()
    never = Signal[None]("never")

    @app.workflow
    async def child() -> None:
        await never.wait()

    @app.workflow
    async def flow() -> str:
        handle = await start_child(child)
        return str(handle.run_id)

    client = await house.client(app)
    await house.worker(app)
    run = await client.start(flow, headers={"tenant": "acme"})
    left = UUID(await run.result())
    await house.ended(left)
    assert await client.get(left).status() == "cancelled"
    await house.check_invariants()


async def test_a_fan_out_inside_of_middleware_sees_each_call_once(house: House) -> None:
    app = house.app()
    recorder = Recorder()
    app.use(recorder)

    @app.activity
    async def square(number: int) -> int:
        return number * number

    @app.activity
    def cube(number: int) -> int:
        return number**3

    @app.workflow
    async def flow() -> list[int]:
        return [sum(await fan_out(square, range(50))), sum(await fan_out(cube, range(50)))]

    client = await house.client(app)
    await house.worker(app, max_activities=7, max_threads=3)
    assert await (await client.start(flow)).result() == [40_425, 1_500_625]
    assert len([one for one in recorder.seen if one.startswith("> ") and "#" in one]) == 100


async def test_what_a_workflow_does_by_itself_is_nobodys_activity(house: House) -> None:
    """A signal to a child is a step of ours: there is no code of the user's to stand around."""
    app = house.app()
    recorder = Recorder()
    app.use(recorder)
    go = Signal[str]("go")

    @app.activity
    async def step() -> None:
        pass

    @app.workflow
    async def child() -> str:
        return await go.wait()

    @app.workflow
    async def parent() -> str:
        await step()
        handle = await start_child(child)
        await handle.signal(go, "on")
        return await handle.result()

    client = await house.client(app)
    await house.worker(app)
    run = await client.start(parent)
    assert await run.result() == "on"
    assert "child#1>send#1" in await house.journal(run.id)
    assert [line for line in recorder.seen if "#" in line] == ["> step#1@1", "< step#1@1"]


async def test_what_is_completed_from_outside_passes_through_middleware(house: House) -> None:
    app = house.app()
    recorder = Recorder()
    app.use(recorder)
    tokens: list[str] = []

    @app.activity
    async def on_the_loop() -> str:
        tokens.append(activity_info().token)
        complete_later()

    @app.activity
    def in_a_thread() -> str:
        tokens.append(activity_info().token)
        complete_later()

    in_a_process = app.activity(isolation="process")(later)
    client = await house.client(app)
    await house.worker(app)
    file = house.place / "token"
    for call in (on_the_loop.call(), in_a_thread.call(), in_a_process.call(str(file))):
        tokens.clear()
        run = await client.start(call)
        await house.parked(run.id, patience=60)
        token = tokens[0] if tokens else file.read_text(encoding="utf-8")
        await client.complete(token, "from outside")
        assert await run.result() == "from outside"
    assert [one[0] for one in recorder.seen if "#" in one] == [">", "<"] * 3


def test_what_is_no_middleware_is_refused() -> None:
    app = App()
    with pytest.raises(DefinitionError, match="make one of it"):
        app.use(Tenancy)  # type: ignore[arg-type]
    with pytest.raises(DefinitionError, match="not an instance"):
        app.use(lambda: None)  # type: ignore[arg-type]


async def test_digest_of_a_process_is_decoded_for_middleware(house: House) -> None:
    app = house.app()
    given: list[Any] = []

    class Look(Middleware):
        async def activity(self, info: ActivityInfo, call_next: CallNext[Any]) -> Any:
            given.append(await call_next())
            return given[-1]

    app.use(Look())
    activity = app.activity(isolation="process")(digest)
    client = await house.client(app)
    await house.worker(app)
    assert await (await client.start(activity, "x")).result(timeout=timedelta(seconds=60)) == ("x", 1)
    assert given == [("x", 1)]
