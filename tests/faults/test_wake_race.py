"""W7: a signal that commits while its run parks, or while it is claimed, is heard."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Literal
from uuid import UUID

import pytest

from holdfast.client import Client
from holdfast.store import work
from holdfast.store.session import Session
from tests.apps.racing import app as racing
from tests.apps.racing import beat, hears
from tests.faults.load import SOON
from tests.house import ROOT, House

Moment = Literal["parks", "claimed"]

COMPARISON = "when coalesce(m.waits, t.waits_inbox)"

STUCK = """
select exists (
  select from holdfast.task t
   where t.bucket_id is null and t.waits_inbox and t.due_at > holdfast.now()
     and exists (select from holdfast.inbox i where i.run_id = t.run_id and not i.seen)
)
"""


@pytest.fixture
async def racer(house: House) -> Client:
    racing.override(origin="the test", database_url=house.dsn)
    return await house.client(racing)


async def sender(house: House, moment: Moment, count: int, runs: list[UUID], *, patience: float) -> int:
    """The process that sends the signals: its exit code."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.apps.racing",
        house.dsn,
        moment,
        str(count),
        str(patience),
        *map(str, runs),
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    try:
        return await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.mark.parametrize(("moment", "signals"), [("parks", 50), ("claimed", 100)])
async def test_a_thousand_signals_at_the_worst_moment_are_all_heard(
    house: House, racer: Client, moment: Moment, signals: int
) -> None:
    # Looking for what came without a hint is far away: only the park itself can notice.
    await (await house.process("tests.apps.racing", "--poll", "30s")).name()
    runs = await racer.start_many([hears.call(signals) for _ in range(20)])
    assert await sender(house, moment, signals, [run.id for run in runs], patience=15.0) == 0
    for run in runs:
        assert await run.result(timeout=SOON) == list(range(signals))
    await house.check_invariants()


@pytest.mark.parametrize("moment", ["parks", "claimed"])
async def test_without_the_comparison_of_the_counter_one_is_lost(house: House, racer: Client, moment: Moment) -> None:
    source = await house.value("select pg_get_functiondef(oid) from pg_proc where proname = 'flush'")
    assert COMPARISON in source
    await house.db.execute(source.replace(COMPARISON, "when false"))
    await (await house.process("tests.apps.racing", "--poll", "30s")).name()
    runs = await racer.start_many([hears.call(100) for _ in range(20)])
    assert await sender(house, moment, 100, [run.id for run in runs], patience=3.0) == 1
    assert await house.value(STUCK)


async def test_a_run_that_is_due_again_as_soon_as_it_parks_does_not_wait_for_the_next_poll(
    house: House, racer: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = work.flush
    sent: list[bool] = []

    async def flush(session: Session, identity: work.Identity, writes: Sequence[Any], **options: Any) -> work.Flushed:
        if any(unit.move is not None for unit in writes) and not sent:
            # Just before the park, so that nothing but the park itself can notice.
            sent.append(await racer.signal(run.id, beat, 0))
        return await real(session, identity, writes, **options)

    monkeypatch.setattr(work, "flush", flush)
    await house.worker(racing, poll=timedelta(seconds=30))
    run = await racer.start(hears, 1)
    assert await run.result(timeout=timedelta(seconds=10)) == [0]
    assert sent
    await house.check_invariants()
