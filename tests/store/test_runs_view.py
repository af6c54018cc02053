"""The view `runs`: every run has exactly one status, and it is the one that people expect."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast.core.states import Ending, RunStatus
from holdfast.store import runs
from tests.store.ground import Ground

NOW, SOON, NEVER = "holdfast.now()", "holdfast.now() + interval '1 hour'", "'infinity'"

# status, then: claimed, due_at, flags, first claimed before
TASKS: list[tuple[RunStatus, bool, str, int, bool]] = [
    (RunStatus.READY, False, NOW, 0, False),
    (RunStatus.READY, False, NOW, 0, True),
    (RunStatus.READY, False, NOW, 4, True),
    (RunStatus.READY, False, NOW, 8, True),
    (RunStatus.SCHEDULED, False, SOON, 0, False),
    (RunStatus.SCHEDULED, False, NEVER, 0, False),
    (RunStatus.WAITING, False, SOON, 0, True),
    (RunStatus.WAITING, False, NEVER, 0, True),
    (RunStatus.WAITING, False, NEVER, 4, True),
    (RunStatus.ASSIGNED, True, SOON, 0, False),
    (RunStatus.WAITING, True, SOON, 0, True),
    (RunStatus.BLOCKED, True, SOON, 2, True),
    (RunStatus.RUNNING, True, NOW, 0, True),
    (RunStatus.RUNNING, True, NOW, 4 | 8, True),
    (RunStatus.RUNNING, True, NOW, 2, True),
    (RunStatus.BLOCKED, False, NOW, 2, True),
    (RunStatus.BLOCKED, False, SOON, 2, True),
    (RunStatus.BLOCKED, False, NEVER, 2 | 4, True),
    # In somebody's hands, a message or a run that is driven by hand.
    (RunStatus.RUNNING, False, SOON, 8, True),
    (RunStatus.PAUSED, False, NEVER, 1 | 8, True),
    (RunStatus.PAUSED, False, NEVER, 1, True),
    (RunStatus.PAUSED, False, NEVER, 1, False),
    (RunStatus.PAUSED, False, NEVER, 1 | 2, True),
    (RunStatus.PAUSED, True, NOW, 1, True),
]


@pytest.mark.parametrize(("status", "held", "due_at", "flags", "before"), TASKS)
async def test_a_task_has_the_status_that_people_see(
    ground: Ground, *, status: RunStatus, held: bool, due_at: str, flags: int, before: bool
) -> None:
    run = await ground.start()
    hand = await ground.worker("payroll")
    await ground.execute(
        f"update holdfast.task set due_at = {due_at}, flags = $1, bucket_id = $2, first_claim_at = $3",
        flags,
        hand.identity.buckets[0] if held else None,
        await ground.value("select holdfast.now()") if before else None,
    )
    assert await runs.read_status(ground.session, run) is status
    row = await ground.db.fetchrow("select * from holdfast.runs")
    assert row is not None
    assert row["worker"] == ("payroll" if held else None)
    assert row["ended_at"] is None
    assert (row["first_claim_at"] is not None) is before


@pytest.mark.parametrize(
    ("ending", "status"),
    [
        (Ending.SUCCEEDED, RunStatus.SUCCEEDED),
        (Ending.FAILED, RunStatus.FAILED),
        (Ending.CANCELLED, RunStatus.CANCELLED),
    ],
)
async def test_a_result_has_the_status_of_its_ending(ground: Ground, ending: Ending, status: RunStatus) -> None:
    run = await ground.start(priority=4)
    hand = await ground.worker(priorities=(4,))
    first = (await hand.claim()).at
    end: Any = hand.end(run)
    end.end = end.end._replace(status=ending)
    flushed = await hand.flush(end)
    row = await ground.db.fetchrow("select * from holdfast.runs")
    assert row is not None
    assert (row["status"], row["priority"], row["due_at"], row["worker"]) == (status, 4, None, None)
    assert (row["first_claim_at"], row["ended_at"]) == (first, flushed.at)


def test_every_status_is_in_these_tables() -> None:
    assert {status for status, *_ in TASKS} | {status for status in RunStatus if status.ended} == set(RunStatus)


async def test_a_moved_run_shows_the_priority_that_it_has_now(ground: Ground) -> None:
    await ground.start()
    await ground.execute("update holdfast.task set priority = 5")
    assert await ground.value("select priority from holdfast.runs") == 5
