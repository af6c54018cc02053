"""Rule 4: every write names the hold it was made under, and applies only where that is still the run's.

Shown elsewhere: what is not this holder's any more is lost, section by section (``tests/store/test_flush.py``); two
workers that pass a run to and fro (``tests/scenarios/test_concurrency.py``).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta
from uuid import UUID

from holdfast import Signal
from holdfast.app.hosted import HostedWorker
from holdfast.core.states import Ending
from holdfast.store import work
from holdfast.store.writes import End
from holdfast.worker.holdings import Holdings
from tests.house import House, eventually
from tests.rules.change import replaced, rewritten, shown, together
from tests.rules.steering import waits
from tests.store.ground import Ground, move

ANY_HOLD = together(
    rewritten("flush", ("t.hold = x.hold as mine", "true as mine")),
    rewritten("end_held", ("       and t.hold = e.hold\n", "")),
)


@shown(("lost", None), the_hold=(ANY_HOLD, ("written", '"old"')))
async def test_p04_a_write_for_an_earlier_hold_is_dropped(ground: Ground, expected: object) -> None:
    run = await ground.start()
    hand = await ground.worker()
    await hand.take(run)
    old = hand.writes(run, end=End(Ending.SUCCEEDED, '"old"', None))
    # The same worker parks the run and claims it again, while an end from before waits for the row.
    second = await ground.more()
    transaction = second.connection.transaction()
    await transaction.start()
    await hand.flush(hand.writes(run, move=move(due=None, waits=False)), session=second)
    (claimed,) = (await hand.claim(session=second)).runs
    assert claimed.hold == old.hold + 1
    late = asyncio.ensure_future(hand.flush(old, wait=True))
    assert await waits(ground, hand.session, late)
    await transaction.commit()
    flushed = await late
    result = await ground.result(run)
    assert ("lost" if run in flushed.lost else "written", result and result["output"]) == expected


go = Signal[int]("go")


def paused(worker: HostedWorker, *, claims: bool) -> None:
    """Lets a worker claim, or not."""
    inner = worker._worker
    assert inner is not None
    assert inner._tenure is not None
    assert inner._tenure._claimer is not None
    inner._tenure._claimer.paused = not claims
    inner._tenure._claimer.hint()


def whatever_is_in_memory(self: Holdings, claimed: work.Claimed) -> bool:
    """Goes on from memory, whoever may have held the run meanwhile."""
    cached = self._cache.pop(claimed.run_id, None)
    if cached is None:
        return False
    cached.hold = claimed.hold - 1
    self._resuming[claimed.run_id] = cached
    return True


@shown(
    (1, 3),
    the_predecessor=(
        replaced("holdfast.worker.holdings.Holdings.knows", whatever_is_in_memory),
        (1, 1),
    ),
)
async def test_p04_a_run_goes_on_from_memory_only_if_nobody_held_it_meanwhile(house: House, expected: object) -> None:
    app = house.app()
    calls: Counter[int] = Counter()

    @app.activity
    async def step(n: int) -> int:
        calls[n] += 1
        return n

    @app.workflow
    async def flow() -> list[int]:
        return [await step(await go.wait()) for _ in range(2)]

    async def rests(run: UUID, seen: int) -> None:
        await house.until(
            "select not exists (select from holdfast.task where run_id = $1) or exists (select from holdfast.task "
            "where run_id = $1 and bucket_id is null and inbox_count = $2 and due_at = 'infinity')",
            *(run, seen),
        )

    client = await house.client(app)
    one, two = await house.worker(app, name="one"), await house.worker(app, name="two")
    await house.until("select count(*) = 2 from holdfast.worker where state = 'active'")
    paused(two, claims=False)
    run = await client.start(flow)
    await rests(run.id, 0)
    paused(one, claims=False)
    paused(two, claims=True)
    await run.signal(go, 1)
    await rests(run.id, 1)
    paused(two, claims=False)
    paused(one, claims=True)
    await run.signal(go, 2)
    await house.until("select exists (select from holdfast.journal where run_id = $1 and key = 'signal:go#2')", run.id)
    await eventually(lambda: calls[2], "the second step is called")
    seqs = {row["key"]: row["seq"] for row in await house.db.fetch("select key, seq from holdfast.journal")}
    assert (seqs["signal:go#1"], seqs["signal:go#2"]) == expected
    if seqs["signal:go#2"] == 3:
        assert await run.result(timeout=timedelta(seconds=20)) == [1, 2]
    assert calls == {1: 1, 2: 1}
