"""Rule 8: only what waits for its inbox is woken by it; what is taken back becomes due now or later, never in the past.

Shown elsewhere: every way of waiting (``tests/store/test_wake.py``).
"""

from __future__ import annotations

import asyncio
import re
from datetime import timedelta
from typing import Any

from holdfast.core.states import Flag
from holdfast.store import work
from holdfast.store.inbox import send_signal
from tests.rules.change import Change, rewritten, shown
from tests.rules.steering import waits
from tests.store.ground import Ground, move

HOUR = timedelta(hours=1)
WAITS, PAUSED, COUNTED = (
    " and t.waits_inbox",
    " and t.flags & 1 = 0\n                           and t.inbox_count",
    "\n                           and t.inbox_count + 1 >= coalesce(t.wake_at, 0)",
)


async def woken_by_a_signal_that_waited(ground: Ground, **park: Any) -> bool:
    """Whether a signal that waited for the park makes the run due."""
    run = await ground.start()
    hand = await ground.worker()
    await hand.take(run)
    sender = await ground.more()
    transaction = hand.session.connection.transaction()
    await transaction.start()
    await hand.flush(hand.writes(run, move=move(**park)))
    sending = asyncio.ensure_future(send_signal(sender, run, name="upgrade", payload="1", key=None))
    assert await waits(ground, sender, sending)
    await transaction.commit()
    assert await sending
    woken = await ground.is_due(run)
    await ground.execute("delete from holdfast.task")
    return woken


@shown(
    [False, False, True],
    waiting=(rewritten("put_signal", (WAITS, "")), [True, False, True]),
    pausing=(rewritten("put_signal", (PAUSED, " and t.inbox_count")), [False, True, True]),
)
async def test_p08_only_what_waits_for_its_inbox_is_woken(ground: Ground, expected: object) -> None:
    sleeps = await woken_by_a_signal_that_waited(ground, due=None, after=HOUR, waits=False)
    paused = await woken_by_a_signal_that_waited(ground, set=Flag.PAUSED)
    listens = await woken_by_a_signal_that_waited(ground)
    assert [sleeps, paused, listens] == expected


@shown(3, wake_at=(rewritten("put_signal", (COUNTED, "")), 1))
async def test_p08_a_fan_out_wakes_its_parent_once(ground: Ground, expected: int) -> None:
    run = await ground.start()
    hand = await ground.worker()
    await hand.parked(run)
    await ground.execute("update holdfast.task set wake_at = 3")
    children = [await ground.more() for _ in range(3)]
    for done, child in enumerate(children, start=1):
        assert await send_signal(child, run, name="child", payload="1", key=None)
        assert await ground.is_due(run) is (done >= expected)


async def taken_back(ground: Ground, verb: str) -> tuple[str, str]:
    """One run is held ahead of its time, one long after: when is the first due, and is the second found?"""
    ahead, overdue = await ground.start_many(2)
    hand, peer = await ground.worker(), await ground.worker()
    await hand.take(ahead, overdue)
    for run, moved in ((ahead, HOUR), (overdue, -HOUR)):
        await ground.execute("update holdfast.task set due_at = due_at + $2::interval where run_id = $1", run, moved)
    # The peer has looked at the line until now, and does not look below that again before it sweeps.
    mark = (await peer.claim()).at - timedelta(milliseconds=250)
    if verb == "leave":
        assert await work.leave(hand.session, hand.identity) == 2
    else:
        await ground.lease_over(hand)
        assert await work.recover(ground.session) is not None
    early = await ground.is_due(ahead)
    found = {run.run_id for run in (await peer.claim(sweep=False, lower=mark)).runs}
    return "now" if early else "in an hour", "found" if overdue in found else "below the watermark"


LEFT = "           due_at = greatest(holdfast.left_due(t), holdfast.now()),\n           -- What was held"
RECOVERED = "             due_at = greatest(holdfast.left_due(t), v_now),\n             flags = (t.flags & ~8) | case"
GREATEST = re.compile(r"greatest\((.+?), (.+)\),")


def due(verb: str, text: str, which: int) -> Change:
    """The verb with one of the two times instead of the later one."""
    return rewritten(verb, (text, GREATEST.sub(rf"\{which},", text)))


@shown(
    ("in an hour", "found"),
    the_time_it_has=(due("leave", LEFT, 2), ("now", "found")),
    the_time_it_is=(due("leave", LEFT, 1), ("in an hour", "below the watermark")),
)
async def test_p08_what_is_given_back_is_due_now_or_later(ground: Ground, expected: object) -> None:
    assert await taken_back(ground, "leave") == expected


@shown(
    ("in an hour", "found"),
    the_time_it_has=(due("recover", RECOVERED, 2), ("now", "found")),
    the_time_it_is=(due("recover", RECOVERED, 1), ("in an hour", "below the watermark")),
)
async def test_p08_what_is_recovered_is_due_now_or_later(ground: Ground, expected: object) -> None:
    assert await taken_back(ground, "recover") == expected
