"""Rule 5: a call whose answer was lost is sent again, and changes nothing the second time.

The answers to commits are lost on their way, by a proxy. Shown elsewhere: every section of a flush, said twice
(``tests/store/test_flush.py``); everything that workers and clients say (``tests/faults/test_lost_commits.py``).
"""

from __future__ import annotations

import functools
from typing import Any

import asyncpg
import pytest

from holdfast.store import work
from holdfast.store.connect import connect
from holdfast.store.session import Session
from holdfast.store.starts import Manner, Start, start_plain
from holdfast.store.statements import Statements
from holdfast.worker.held import Unit
from tests.faults.proxy import Proxy
from tests.house import eventually
from tests.rules.change import replaced, reworded, rewritten, shown
from tests.rules.commit import Committing
from tests.store.ground import Ground, move, new_id, step


def first(place: int, _rows: int) -> bool:
    return place == 0


really_flush = work.flush


@functools.wraps(really_flush)
async def never_again(*arguments: Any, wait: bool, again: bool) -> work.Flushed:
    """As if it were the first time."""
    return await really_flush(*arguments, wait=wait, again=False)


@shown(
    (["committed"], ["charge#1"]),
    saying_so=(replaced("holdfast.store.work.flush", never_again), (["lost"], ["charge#1"])),
)
async def test_p05_a_row_whose_commit_was_not_heard_of_is_ones_own(
    ground: Ground, committing: Committing, expected: object
) -> None:
    (owner,) = await committing.claim(1)
    async with Proxy(ground.dsn) as proxy:
        loss = proxy.lose("holdfast.flush(", first)
        committing.commit(dsn=proxy.dsn).add(Unit(owner, journal=[step(1)]))
        await eventually(lambda: owner.told, "it is told")
        assert loss.lost == 1
    # Lost would mean that another holder has written it, and the run's instance would be dropped.
    assert (owner.told, [row["key"] for row in await ground.journal(owner.run_id)]) == expected


HELD = "         -- The same call again finds it given back already, and must not undo what came since.\n"


@shown(
    True,
    being_held=(
        rewritten(
            "flush",
            (f"{HELD}         and t.bucket_id is not null\n", ""),
            ("when coalesce(m.waits, t.waits_inbox)", "when false"),
        ),
        False,
    ),
)
async def test_p05_a_park_sent_again_undoes_no_wake(ground: Ground, committing: Committing, expected: object) -> None:
    (owner,) = await committing.claim(1)
    async with Proxy(ground.dsn) as proxy:
        loss = proxy.lose("holdfast.flush(", first)
        commit = committing.commit(dsn=proxy.dsn)
        commit.add(Unit(owner, move=move()))
        await ground.until("select count(*) = 1 from holdfast.task where bucket_id is null")
        await ground.execute("select holdfast.signal($1, 'upgrade')", owner.run_id)
        await eventually(lambda: owner.told, "it is told")
        assert loss.lost == 1
    assert await ground.is_due(owner.run_id) is expected


_HANGS_ON_THE_RUN = (
    reworded("start_plain", ("where (a.id in (select made.id from made)) is true", "where true")),
    "both ended and in line",
)
_ONE_HANGS_ON_THE_RUN = (
    reworded(
        "start_one",
        (
            "from made r",
            """from (select :id::uuid as id, :name::text as name, :lane::text as lane, :priority::smallint as priority,
                           holdfast.now() as created_at) r""",
        ),
    ),
    "both ended and in line",
)


@shown("ended once", hanging_on_the_run=_HANGS_ON_THE_RUN)
async def test_p05_a_start_sent_again_starts_nothing_that_has_ended(ground: Ground, expected: object) -> None:
    await _starts_again(ground, expected, count=2)


@shown("ended once", hanging_on_the_run=_ONE_HANGS_ON_THE_RUN)
async def test_p05_a_single_start_sent_again_starts_nothing_that_has_ended(ground: Ground, expected: object) -> None:
    await _starts_again(ground, expected, count=1)


async def _starts_again(ground: Ground, expected: object, *, count: int) -> None:
    manner = Manner(1, "flow", "default", 3, None, None, None, None)
    starts = [Start(new_id(), "{}", manner, None, None) for _ in range(count)]
    statements = Statements()
    hand = await ground.worker()
    async with Proxy(ground.dsn) as proxy:
        loss = proxy.lose("insert into holdfast.run ", first)
        for attempt in range(2):
            connection = await connect(proxy.dsn, application="client")
            try:
                if attempt == 0:
                    with pytest.raises((OSError, asyncpg.PostgresError)):
                        await start_plain(Session(connection, statements), starts, hint=False)
                    # They are there all the same, and end before they are sent again.
                    await hand.take(*(start.id for start in starts))
                    await hand.flush(*(hand.end(start.id) for start in starts))
                else:
                    await start_plain(Session(connection, statements), starts, hint=False)
            finally:
                connection.terminate()
        assert loss.lost == 1
    ended, in_line = await ground.result(starts[0].id) is not None, await ground.task(starts[0].id) is not None
    assert ("both ended and in line" if ended and in_line else "ended once") == expected
    assert ended
