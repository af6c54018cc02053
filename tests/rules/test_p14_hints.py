"""Rule 14: a flush notifies nobody; hints go in a small commit of their own after it, and their errors are nobody's.

Shown elsewhere: hints that are lost or refused (``tests/faults/test_network.py``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from holdfast.core.states import Ending
from holdfast.store import work
from holdfast.store.session import Session
from holdfast.store.writes import End
from holdfast.worker.held import Unit
from tests.house import House, eventually
from tests.rules.change import replaced, rewritten, shown
from tests.rules.commit import Committing
from tests.store.ground import Ground

NOTIFYING = rewritten(
    "flush",
    (
        "  return query select v_at, v_busy, v_lost, v_inbox, v_due, v_asks, v_late;",
        (
            "  if cardinality(e_run) > 0 then perform holdfast.hint('end ' || array_to_string(e_run, ' ')); end if;\n"
            "  return query select v_at, v_busy, v_lost, v_inbox, v_due, v_asks, v_late;"
        ),
    ),
)


@shown([], silence=(NOTIFYING, ["end"]))
async def test_p14_a_flush_notifies_nobody(ground: Ground, expected: object) -> None:
    heard: list[str] = []
    listener = await ground.connect()

    def hear(_connection: object, _pid: int, _channel: str, payload: object) -> None:
        heard.append(str(payload).split()[0])

    await listener.add_listener("holdfast", hear)
    run = await ground.start()
    hand = await ground.worker()
    await hand.take(run)
    await hand.flush(hand.end(run))
    # What is said here is heard after what the flush may have said.
    await ground.execute("select holdfast.hint('over')")
    await eventually(lambda: "over" in heard, "the last hint is heard")
    assert heard[:-1] == expected


@shown(1, silence=(NOTIFYING, 3))
async def test_p14_a_hint_that_is_too_long_costs_no_flush(
    ground: Ground, committing: Committing, monkeypatch: pytest.MonkeyPatch, expected: int
) -> None:
    """A payload is limited, and an error about it looks like one about the data: the flush would be split."""
    owners = await committing.claim(400)
    commit = committing.commit()
    flushes = 0
    really_flush = work.flush

    async def flush(*arguments: Any, **options: Any) -> work.Flushed:
        nonlocal flushes
        flushes += 1
        return await really_flush(*arguments, **options)

    monkeypatch.setattr(work, "flush", flush)
    for owner in owners:
        commit.add(Unit(owner, end=End(Ending.SUCCEEDED, "1", None)))
    await eventually(lambda: all(owner.told for owner in owners), "all are told")
    assert flushes == expected


@shown(["end *"], coalescing=(replaced("holdfast.worker.hints._MOST_IDS", 10_000), ["an error"]))
async def test_p14_hints_are_coalesced_and_cut_to_size(
    house: House, monkeypatch: pytest.MonkeyPatch, expected: object
) -> None:
    said: list[str] = []
    really_send = work.send_hints
    app = house.app()
    release = asyncio.Event()
    running = 0

    @app.activity
    async def job() -> None:
        nonlocal running
        running += 1
        await release.wait()

    async def send_hints(session: Session, payloads: Sequence[str]) -> None:
        try:
            await really_send(session, payloads)
        except Exception:
            said.append("an error")
            raise
        said.extend(payload for payload in payloads if payload.startswith("end"))

    monkeypatch.setattr(work, "send_hints", send_hints)
    client = await house.client(app)
    await house.worker(app, parallelism_factor=100.0, bucket_buffer_size=1000)
    runs = await client.start_many([job.call() for _ in range(400)])
    await eventually(lambda: running == 400, "all are running, so that all end at once")
    release.set()
    # Whatever becomes of the hints, the runs end.
    await house.ended(*[run.id for run in runs])
    await eventually(lambda: said, "hints are sent")
    assert said == expected


async def test_p14_errors_in_hints_are_nobodys(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = asyncio.Event()

    async def send_hints(session: Session, payloads: Sequence[str]) -> None:
        tried.set()
        raise ConnectionResetError("hints are only hints")

    monkeypatch.setattr(work, "send_hints", send_hints)
    app = house.app()

    @app.activity
    async def job(n: int) -> int:
        return n

    client = await house.client(app)
    await house.worker(app)
    runs = [await client.start(job, n) for n in range(5)]
    assert [await run.result(timeout=timedelta(seconds=20)) for run in runs] == list(range(5))
    assert tried.is_set()
    assert await house.value("select count(*) from holdfast.worker") == 1
    monkeypatch.undo()
    await house.check_invariants()
