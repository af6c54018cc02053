"""Waiting for results: typed, cheap for a thousand, and found without hints too."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from functools import partial
from uuid import UUID, uuid4

import pytest

from holdfast.client import Client, lookout, waiter
from holdfast.client.handle import RunHandle
from holdfast.core.errors import (
    HoldfastError,
    InvalidInput,
    ResultTimeout,
    RunCancelled,
    RunFailed,
    RunNotFound,
    RunTimedOut,
    Unreadable,
)
from holdfast.core.failure import Failure
from holdfast.core.states import Ending
from holdfast.store.runs import Ended, read_ended
from holdfast.store.session import Session
from tests.client.shop import (
    CardDeclined,
    Cipher,
    Connection,
    Receipt,
    Signup,
    charge,
    client_of,
    end,
    end_all,
    nothing,
    onboard,
)
from tests.house import eventually, until

LISTENERS = "select count(*) from pg_stat_activity where datname = current_database() and query ilike 'listen%'"


@pytest.fixture
def never_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """After its first looks, only a hint makes the waiter look again."""
    monkeypatch.setattr(lookout, "_FIRST_INTERVAL", 3600.0)
    monkeypatch.setattr(lookout, "_LONGEST_INTERVAL", 3600.0)


@pytest.fixture
async def deaf(dsn: str) -> AsyncIterator[Client]:
    """A client that listens to no hints."""
    async with client_of(dsn, hints=False) as client:
        yield client


async def test_a_result_has_the_type_that_the_code_says(client: Client, db: Connection) -> None:
    handle = await client.start(onboard, Signup("Acme", 1))
    await end(db, handle.id, output='{"number": 7}')
    assert await handle.result() == Receipt(7)
    assert await client.get(handle.id, onboard).result() == Receipt(7)
    assert await client.get(str(handle.id)).result() == {"number": 7}


async def test_a_result_can_be_nothing(client: Client, db: Connection) -> None:
    handle = await client.start(nothing)
    await end(db, handle.id)
    results: list[object] = [await client.get(handle.id, definition).result() for definition in (nothing, None)]
    assert results == [None, None]


async def test_a_result_is_opened_by_the_codec(dsn: str, db: Connection) -> None:
    codec = Cipher()
    async with client_of(dsn, codec=codec) as client:
        handle = await client.start(charge, 5)
        assert b"amount" not in (await db.fetchval("select input from holdfast.run")).encode()
        await end(db, handle.id, output=client._context.seal.close('"paid"', what="a result"))
        assert await handle.result() == "paid"
    async with client_of(dsn) as stranger:
        with pytest.raises(Unreadable, match="give the app its codec"):
            await stranger.get(handle.id, charge).result()


async def test_a_failure_says_what_was_raised(client: Client, db: Connection) -> None:
    handle = await client.start(charge, 5)
    try:
        raise CardDeclined("no funds") from ValueError("balance is 0")
    except CardDeclined as error:
        await end(db, handle.id, Ending.FAILED, failure=Failure.of(error))
    with pytest.raises(RunFailed, match="CardDeclined: no funds") as caught:
        await handle.result()
    assert caught.value.run_id == handle.id
    assert caught.value.type_name == "tests.client.shop:CardDeclined"
    assert "test_a_failure_says_what_was_raised" in (caught.value.traceback or "")
    cause = caught.value.__cause__
    assert isinstance(cause, CardDeclined)
    assert isinstance(cause.__cause__, ValueError)


async def test_a_failure_of_a_class_that_is_not_here_is_said_all_the_same(client: Client, db: Connection) -> None:
    handle = await client.start(charge, 5)
    failure = Failure(type="elsewhere:Gone", message="no such class here", args=["x"], rebuildable=True)
    await end(db, handle.id, Ending.FAILED, failure=failure)
    with pytest.raises(RunFailed, match="elsewhere:Gone: no such class here"):
        await handle.result()


async def test_a_timeout_of_the_run_is_told_from_other_failures(client: Client, db: Connection) -> None:
    handle = await client.start(nothing)
    failure = Failure(type="holdfast.core.errors:RunTimedOut", message="not done after 1 h", reason="timeout")
    await end(db, handle.id, Ending.FAILED, failure=failure)
    with pytest.raises(RunTimedOut, match="not done after 1 h"):
        await handle.result()


async def test_a_cancelled_run_has_no_result(client: Client) -> None:
    handle = await client.start(nothing)
    await handle.cancel()
    with pytest.raises(RunCancelled):
        await handle.result()


async def test_a_wait_ends_after_its_timeout_and_the_run_goes_on(client: Client, db: Connection) -> None:
    handle = await client.start(charge, 5)
    with pytest.raises(ResultTimeout, match=r"has not ended after 0\.05 s") as caught:
        await handle.result(timedelta(milliseconds=50))
    assert isinstance(caught.value, TimeoutError)
    assert client._context.waiter._waits == {}
    await end(db, handle.id, output='"paid"')
    assert await handle.result(timedelta(minutes=1)) == "paid"
    with pytest.raises(InvalidInput, match="use a timedelta of zero or more"):
        await handle.result(timedelta(-1))


async def test_a_timeout_around_a_wait_is_left_alone(client: Client) -> None:
    handle = await client.start(nothing)
    with pytest.raises(TimeoutError) as caught:
        async with asyncio.timeout(0.05):
            await handle.result(timedelta(minutes=1))
    assert not isinstance(caught.value, ResultTimeout)


async def test_a_zero_timeout_looks_once(client: Client, db: Connection) -> None:
    handle = await client.start(charge, 5)
    with pytest.raises(ResultTimeout):
        await handle.result(timedelta(0))
    await end(db, handle.id, output='"paid"')
    assert await handle.result(timedelta(0)) == "paid"
    with pytest.raises(RunNotFound):
        await client.get(uuid4()).result(timedelta(0))


@pytest.mark.usefixtures("never_looks")
async def test_an_unknown_run_is_said_at_once(client: Client) -> None:
    unknown = uuid4()
    with pytest.raises(RunNotFound, match=str(unknown)):
        await client.get(unknown).result()
    with pytest.raises(RunNotFound):
        await client.get(unknown).status()
    with pytest.raises(InvalidInput, match="is not the id of a run"):
        client.get("42")


@pytest.mark.usefixtures("never_looks")
async def test_a_run_of_another_name_is_said_at_once(client: Client) -> None:
    handle = await client.start(nothing)
    with pytest.raises(InvalidInput, match="is one of 'nothing', not of 'charge'"):
        await client.get(handle.id, charge).result()


async def test_a_start_that_was_rolled_back_has_no_run(client: Client, db: Connection) -> None:
    transaction = db.transaction()
    await transaction.start()
    handle = await client.start(nothing, connection=db)
    await transaction.rollback()
    with pytest.raises(RunNotFound):
        await handle.result()


@pytest.mark.usefixtures("never_looks")
@pytest.mark.parametrize("payload", ["end {run}", "end *", "end 0197b2f0-7c3e-7a41-9d5c-2f6b8e1d4a90 {run}"])
async def test_a_hint_is_enough(client: Client, db: Connection, payload: str) -> None:
    handle = await client.start(charge, 5)
    waiting = asyncio.create_task(handle.result())
    await _looked(client)
    for noise in ("", "end", "end nonsense", "due default", "end 0197b2f0-7c3e-7a41-9d5c-2f6b8e1d4a90"):
        await db.execute("select pg_notify('holdfast', $1)", noise)
    await end(db, handle.id, output='"paid"')
    assert not waiting.done()
    await db.execute("select pg_notify('holdfast', $1)", payload.format(run=handle.id))
    assert await waiting == "paid"


async def test_results_are_found_without_hints(deaf: Client, db: Connection) -> None:
    handle = await deaf.start(charge, 5)
    waiting = asyncio.create_task(handle.result())
    await _looked(deaf)
    await end(db, handle.id, output='"paid"')
    assert await waiting == "paid"
    assert await db.fetchval(LISTENERS) == 0


@pytest.mark.usefixtures("never_looks")
async def test_a_listener_that_is_lost_comes_back_and_looks(client: Client, db: Connection) -> None:
    handle = await client.start(charge, 5)
    waiting = asyncio.create_task(handle.result())
    await _looked(client)
    await end(db, handle.id, output='"paid"')
    await db.execute(
        "select pg_terminate_backend(pid) from pg_stat_activity "
        "where datname = current_database() and query ilike 'listen%'"
    )
    assert await waiting == "paid"


async def test_results_are_found_when_the_database_comes_back(deaf: Client, db: Connection) -> None:
    handle = await deaf.start(charge, 5)
    waiting = asyncio.create_task(handle.result())
    await _looked(deaf)
    await db.execute(
        "select pg_terminate_backend(pid) from pg_stat_activity "
        "where datname = current_database() and pid <> pg_backend_pid()"
    )
    await end(db, handle.id, output='"paid"')
    assert await waiting == "paid"


async def test_any_number_may_wait_for_one_run(client: Client, db: Connection) -> None:
    handle = await client.start(charge, 5)
    waiting = [asyncio.create_task(client.get(handle.id, charge).result()) for _ in range(10)]
    await eventually(lambda: len(client._context.waiter._waits) == 1, "all wait")
    waiting.pop().cancel()
    await end(db, handle.id, output='"paid"', hint=True)
    assert await asyncio.gather(*waiting) == ["paid"] * 9
    assert client._context.waiter._waits == {}


async def test_a_wait_that_is_cancelled_leaves_nothing_behind(client: Client) -> None:
    handles = await client.start_many([nothing.call()] * 3)
    waiting = [asyncio.create_task(handle.result()) for handle in handles]
    unknown = asyncio.create_task(client.get(uuid4()).result())
    waits = client._context.waiter._waits
    await eventually(lambda: len(waits) >= 3, "all wait")
    for task in (*waiting, unknown):
        task.cancel()
    await asyncio.wait([*waiting, unknown])
    assert waits == {}
    assert client._context.waiter._unknown == set()


async def test_closing_the_client_ends_its_waits(dsn: str, db: Connection) -> None:
    async with client_of(dsn) as client:
        handle = await client.start(nothing)
        waiting = asyncio.create_task(handle.result())
        await until(lambda: db.fetchval(LISTENERS), "the client listens")
    with pytest.raises(HoldfastError, match="this client is closed"):
        await waiting
    with pytest.raises(HoldfastError, match="this client is closed"):
        await handle.result()
    await until(
        lambda: db.fetchval(
            "select count(*) = 0 from pg_stat_activity "
            "where datname = current_database() and application_name = 'holdfast client'"
        ),
        "its connections are gone",
    )


@pytest.mark.parametrize("hints", [True, False])
async def test_a_thousand_waits_cost_a_handful_of_statements_a_second(
    dsn: str, db: Connection, monkeypatch: pytest.MonkeyPatch, hints: bool
) -> None:
    looks: list[float] = []

    async def counted(session: Session, runs: Sequence[UUID]) -> dict[UUID, Ended]:
        looks.append(time.monotonic())
        return await read_ended(session, runs)

    monkeypatch.setattr(waiter, "read_ended", counted)
    async with client_of(dsn, hints=hints) as client:
        handles = await client.start_many([charge.call(n) for n in range(1_000)])
        waiting = [asyncio.create_task(handle.result()) for handle in handles]
        await eventually(lambda: looks, "the first look")
        # While results trickle in, and each is hinted at: the worst case.
        for wanted in range(len(looks) + 1, len(looks) + 7):
            for _ in range(10):
                await end(db, handles.pop().id, output='"paid"', hint=True)
            await eventually(partial(_reached, looks, wanted), "one more look")
        assert looks[6] - looks[1] >= 5 * 0.15
        await end_all(db, '"paid"')
        assert await asyncio.gather(*waiting) == ["paid"] * 1_000


def _reached(looks: list[float], count: int) -> bool:
    return len(looks) >= count


async def _looked(client: Client) -> None:
    """Returns when the waiter has looked for everything, and waits for a reason to look again."""
    waiter = client._context.waiter
    await eventually(lambda: waiter.lookout.settled, "the waiter has looked")


def test_a_handle_shows_its_run() -> None:
    run_id = UUID("0197b2f0-7c3e-7a41-9d5c-2f6b8e1d4a90")
    handle: RunHandle[None] = RunHandle(None, run_id, nothing)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    assert repr(handle) == f"<run {run_id} of 'nothing'>"
