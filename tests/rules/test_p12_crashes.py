"""Rule 12: what is counted against a run is a crash of its holder while it was executed, and progress forgets it.

Shown elsewhere: each way of counting (``tests/store/test_recovery.py``); a run that kills its worker each time, with
processes (``tests/worker/test_suspects.py``).
"""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from holdfast import RunFailed
from holdfast.store import survival, work
from holdfast.store.survival import Held, Survival
from tests.house import House
from tests.rules.change import rewritten, shown
from tests.store.ground import Ground, Hand, step
from tests.worker.hand import hand

CLAIMS_COUNTED = rewritten(
    "claim", ("           hold = t.hold + 1,\n", "           hold = t.hold + 1, crashes = t.crashes + 1,\n")
)


@shown("done", crashes_only=(CLAIMS_COUNTED, "given up"))
async def test_p12_claims_are_not_counted(house: House, expected: object) -> None:
    app = house.app()

    @app.workflow
    async def flow() -> str:
        return "done"

    client = await house.client(app)
    run = await client.start(flow)
    for _ in range(6):
        # Six workers in turn claim it, and leave in order before they have begun it.
        async with hand(house) as one:
            assert len(await one.claim()) == 1
            assert await work.leave(one.session, one.identity) == 1
    await house.worker(app)
    try:
        ended = await run.result(timeout=timedelta(seconds=20))
    except RunFailed as failed:
        ended = "given up" if "given up after" in str(failed) else "?"
    assert ended == expected


async def crash(ground: Ground, hand: Hand) -> None:
    """The worker dies; another recovers its runs, while one more tries to."""
    await ground.lease_over(hand)
    one, two = await ground.more(), await ground.more()
    transaction = one.connection.transaction()
    await transaction.start()
    assert await work.recover(one) is not None
    assert (found := await work.recover(two)) is None or found.runs == 0
    await transaction.commit()


async def taken(ground: Ground, *runs: UUID) -> Hand:
    """A new worker that has these, wherever they stand in line."""
    lane: str = await ground.value("select lane from holdfast.task where run_id = $1", runs[0])
    hand = await ground.worker(lane=lane)
    await hand.take(*runs)
    return hand


PROGRESS = "when exists (select 1 from holdfast.journal j where j.run_id = t.run_id and j.hold = t.hold) then 1"


@shown((1, "default"), progress=(rewritten("recover", (PROGRESS, "")), (6, "default alone")))
async def test_p12_progress_forgets_crashes(ground: Ground, expected: object) -> None:
    run = await ground.start()
    for place in range(1, 7):
        hand = await taken(ground, run)
        await hand.flush(hand.writes(run, begun=True))
        await hand.flush(hand.writes(run, journal=[step(place)]))
        await crash(ground, hand)
    task = await ground.held(run)
    assert (task["crashes"], task["lane"]) == expected


BEGUN = "               when t.crashes = 0 or t.flags & 8 <> 0 then t.crashes + 1\n"


@shown(
    ("default", "default alone"),
    the_mark=(
        rewritten("recover", (BEGUN, "               when true then t.crashes + 1\n")),
        ("default alone", "default alone"),
    ),
    a_line_apart=(
        rewritten("recover", ("case when h.crashes >= 2 then holdfast.lane_alone(t.lane) else t.lane end", "t.lane")),
        ("default", "default"),
    ),
)
async def test_p12_a_suspect_is_told_from_its_neighbours(ground: Ground, expected: object) -> None:
    neighbour, poison = await ground.start_many(2)
    for _ in range(2):
        hand = await taken(ground, neighbour, poison)
        # Both are in memory; only one is executed when the worker dies.
        await hand.flush(hand.writes(poison, begun=True))
        await crash(ground, hand)
    assert tuple([(await ground.held(run))["lane"] for run in (neighbour, poison)]) == expected


@shown(
    [(0, "early"), (0, "late")],
    the_word=(
        rewritten("survive", ("survived = true", "survived = false")),
        [(2, "early alone"), (0, "late")],
    ),
    taking_it_back=(
        rewritten("survive", ("where t.crashes > h.crashes", "where false")),
        [(0, "early"), (2, "late alone")],
    ),
)
async def test_p12_a_worker_that_was_cut_off_and_lives_on_is_no_crash(ground: Ground, expected: object) -> None:
    stand: list[tuple[int, str]] = []
    for when in ("early", "late"):
        run = await ground.start(lane=when)
        for _ in range(2):
            one = await taken(ground, run)
            await one.flush(one.writes(run, begun=True))
            before = (await ground.held(run))["crashes"]
            said = Survival(worker=one.identity.worker, runs=[Held(run, one.holds[run], before)])
            # It says so before others have recovered its runs, or after that.
            if when == "early":
                await survival.survive(ground.session, said)
            await crash(ground, one)
            if when == "late":
                await survival.survive(ground.session, said)
        task = await ground.held(run)
        stand.append((task["crashes"], task["lane"]))
    assert stand == expected
