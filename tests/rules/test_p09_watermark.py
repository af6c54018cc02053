"""Rule 9: a claim begins at a watermark, and what becomes visible below it is found all the same.

Shown elsewhere: who keeps the floor down (``tests/store/test_floor.py``); a start that commits long after its time
(``tests/scenarios/test_starts.py``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from holdfast.core.priority import Priority
from holdfast.store import work
from holdfast.store.connect import connect
from holdfast.worker import claimer
from holdfast.worker.bucket import Bucket
from tests.house import House, eventually
from tests.rules.change import replaced, rewritten, shown
from tests.store.ground import LONG_AGO, Ground, Hand

NO_SLACK = replaced("holdfast.worker.bucket.SLACK", timedelta(0))
SECOND = timedelta(seconds=1)


class Line:
    """The one bucket of a worker, and how far down its line it has looked."""

    def __init__(self, hand: Hand) -> None:
        self.hand = hand
        self.bucket = Bucket(hand.identity.buckets[0], "default", Priority.MEDIUM, capacity=2, buffer_size=0)

    async def claim(self, *, sweep: bool = False) -> list[UUID]:
        """One claim of at most two, from the watermark or below; what it brings stays held."""
        claim = await self.hand.claim(2, sweep=sweep, lower=self.bucket.watermark)
        runs = claim.runs
        self.bucket.looked(at=claim.at, last_due=runs[-1].due_at if runs else None, full=len(runs) == 2)
        return [run.run_id for run in runs]


@shown(True, slack=(NO_SLACK, False))
async def test_p09_a_start_that_commits_a_little_late_is_above_the_watermark(ground: Ground, expected: object) -> None:
    line = Line(await ground.worker())
    user = Ground(ground.dsn, await ground.connect())
    transaction = user.db.transaction()
    await transaction.start()
    late = await user.start()
    # The claim looks at the clock after the start did, and before the start is visible.
    assert await line.claim() == []
    await transaction.commit()
    assert (await line.claim() == [late]) is expected


class Forward(Line):
    """A worker that takes what is not due yet, too, and looks at what a claim brought as every worker does."""

    async def claim(self, *, sweep: bool = False) -> list[UUID]:
        claim = await self.hand.claim(2, sweep=sweep, lower=self.bucket.watermark, early=5, lead=15 * SECOND)
        counts, last_due = claimer.due_in(claim)
        bucket = self.bucket
        bucket.looked(at=claim.at, last_due=last_due.get(bucket.id), full=counts.get(bucket.id, 0) >= 2)
        return [run.run_id for run in claim.runs]


def all_of_it(claim: work.Claim) -> tuple[dict[int, int], dict[int, datetime]]:
    return (
        {run.bucket: len(claim.runs) for run in claim.runs},
        {run.bucket: run.due_at for run in claim.runs},
    )


@shown(True, the_difference=(replaced("holdfast.worker.claimer.due_in", all_of_it), False))
async def test_p09_what_is_taken_ahead_says_nothing_about_the_line(ground: Ground, expected: object) -> None:
    line = Forward(await ground.worker())
    ahead = await ground.start_many(3, after=10 * SECOND)
    user = Ground(ground.dsn, await ground.connect())
    transaction = user.db.transaction()
    await transaction.start()
    late = await user.start()
    assert await line.claim() == ahead
    # A claim that is full of what is not due yet has seen all that is.
    await transaction.commit()
    assert line.bucket.watermark < (await ground.held(ahead[0]))["due_at"]
    assert (await line.claim() == [late]) is expected


def as_if_never_full(self: Bucket, *, at: datetime, last_due: datetime | None, full: bool) -> None:
    self.more = full
    self.watermark = at


def never_lower(self: Bucket, *, at: datetime, last_due: datetime | None, full: bool) -> None:
    self.more = full
    self.watermark = max(self.watermark, last_due if full and last_due else at)


LOOKED = "holdfast.worker.bucket.Bucket.looked"


@shown(3, the_last_row=(replaced(LOOKED, as_if_never_full), 1))
async def test_p09_a_full_claim_goes_on_where_it_ended(ground: Ground, expected: int) -> None:
    runs = await ground.start_many(6)
    line = Line(await ground.worker())
    found = [await line.claim() for _ in range(3)]
    assert [run for claim in found for run in claim] == runs[: 2 * expected]


@shown(3, lowering=(replaced(LOOKED, never_lower), 1))
async def test_p09_a_sweep_lowers_the_watermark(ground: Ground, expected: int) -> None:
    line = Line(await ground.worker())
    assert await line.claim() == []
    late = await ground.start_many(6)
    await ground.execute("update holdfast.task set due_at = due_at - interval '1 hour'")
    found = [await line.claim(sweep=place == 0) for place in range(3)]
    assert [run for claim in found for run in claim] == late[: 2 * expected]


@shown("by a sweep", sweeping=(replaced("holdfast.worker.sweeps._EVERY", float("inf")), "not at all"))
async def test_p09_what_commits_late_is_found_while_there_is_room(
    house: House, monkeypatch: pytest.MonkeyPatch, expected: str
) -> None:
    app = house.app()

    @app.activity
    async def job(n: int) -> int:
        return n

    client = await house.client(app)
    claims: list[tuple[bool, set[UUID], datetime]] = []
    really_claim = work.claim

    async def claim(session: Any, identity: Any, wanted: Sequence[Any], *, sweep: bool, **options: Any) -> work.Claim:
        answer = await really_claim(session, identity, wanted, sweep=sweep, **options)
        claims.append((sweep, {run.run_id for run in answer.runs}, answer.at))
        return answer

    monkeypatch.setattr(work, "claim", claim)
    await house.worker(app)
    user = await connect(house.dsn, application="user")
    transaction = user.transaction()
    await transaction.start()
    late = await client.start(job, 0, connection=user)
    began = await house.value("select clock_timestamp()")
    # Work goes on until the watermark is far beyond the late one.
    while not any(at > began + SECOND / 2 and runs for _, runs, at in claims):
        await (await client.start(job, 1)).result()
    await transaction.commit()
    committed = await house.value("select clock_timestamp()")
    before = len(claims)
    running = asyncio.create_task(_keep_busy(client, job))
    try:
        await eventually(
            lambda: (
                (expected == "not at all" and len(claims) > before + 40)
                or any(late.id in runs for _, runs, _ in claims)
            ),
            "it is found, or not",
        )
    finally:
        running.cancel()
    found = [(sweep, at) for sweep, runs, at in claims if late.id in runs]
    assert ("by a sweep" if found and found[0][0] else "not at all") == expected
    if found:
        # 50 ms where nothing else takes the processor; the bound is for a machine that has much to do.
        assert found[0][1] - committed < 2 * SECOND
    user.terminate()


async def _keep_busy(client: Any, job: Any) -> None:
    while True:
        await (await client.start(job, 2)).result()


AT_ONCE = rewritten("raise_floors", ("interval '10 seconds'", "interval '0 seconds'"))
BELOW_WRITERS = "  select least(v_bound, min(a.xact_start) - interval '1 second')\n    into v_bound\n"


@shown(
    True,
    the_writers=(
        rewritten(
            "raise_floors",
            (
                BELOW_WRITERS,
                BELOW_WRITERS.replace("least(v_bound, min(a.xact_start) - interval '1 second')", "v_bound"),
            ),
        ),
        False,
    ),
)
async def test_p09_the_floor_stays_below_who_is_writing(
    ground: Ground, monkeypatch: pytest.MonkeyPatch, expected: object
) -> None:
    # The ten seconds for who is about to write its first row would cover this test in either case.
    await AT_ONCE(ground.db, monkeypatch)
    hand = await ground.worker()
    user = Ground(ground.dsn, await ground.connect())
    transaction = user.db.transaction()
    await transaction.start()
    late = await user.start()
    await work.raise_floors(ground.session, [("default", 3)])
    await transaction.commit()
    # A sweep is the last that looks for it.
    assert ([run.run_id for run in (await hand.claim(sweep=True)).runs] == [late]) is expected


CLAMPED = "greatest(coalesce(a.due, v_now + a.after, v_now), v_now)"


@shown(True, clamping=(rewritten("start_many", (CLAMPED, "coalesce(a.due, v_now + a.after, v_now)")), False))
async def test_p09_a_time_in_the_past_is_now(ground: Ground, expected: object) -> None:
    hand = await ground.worker()
    await work.raise_floors(ground.session, [("default", 3)])
    run = await ground.start(due=LONG_AGO)
    assert ([found.run_id for found in (await hand.claim(sweep=True)).runs] == [run]) is expected
