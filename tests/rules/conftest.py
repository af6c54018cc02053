"""What the tests of the rules stand on.

Each rule of the engine (``test_pNN_…``) has scenarios, of two sessions or more that are steered by locks and signals.
A scenario runs with the engine as it is, and comes to what was promised; and it runs with the rule taken out, in the
test's own database or process, and must then go wrong: so a rule cannot be lost without a test that says so.

== =========================== ====================================================================================
 1 fence                       no lock; lock and check in one statement; a STABLE fence; any isolation level; claims
                               without a fence; a lock that two schemas share
 2 order                       rows, or keys, not in order; busy rows waited for; never waited for; a held run ended
                               by who is not its holder
 3 verdicts                    all fail with the culprit; split by row; no second try; a conflict as a failure; a
                               dropped run forgotten
 4 hold                        any hold; memory of any age
 5 resending                   without saying so; parks and starts that take effect twice
 6 identity                    heartbeat and recovery without their guards; no sweep of buckets that are nobody's
 7 inbox                       the journal read with the claim; letters numbered by what lies there; keys forgotten
 8 waking                      what only sleeps, or is paused, woken; a fan-out's parent woken by each; due times in
                               the past, or too early
 9 watermark                   no slack; not where a full claim ended; not lowered; no sweeps; a floor above writers;
                               times in the past
10 keys                        taken and looked up in one statement
11 recovery                    waits for a flush; waits for a row; terminates nobody; flushes, and transactions,
                               without a limit
12 crashes                     claims counted; progress not; what was only buffered too; suspects among the others
13 transactional activities    recovery that does not look; records without check, without lock, without mark; a
                               missing commit believed at once; outcomes beside it not held back, or not waited for
14 hints                       sent by the flush; not cut to size
15 buffer                      no look before the beginning
== =========================== ====================================================================================

What is shown elsewhere is named at the top of each file.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest

from tests.rules.change import Change
from tests.rules.commit import Committing
from tests.store.ground import Ground


@pytest.fixture
async def changed(change: Change, db: asyncpg.Connection[asyncpg.Record], monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine, with or without the rule."""
    await change(db, monkeypatch)


@pytest.fixture
async def ground(dsn: str, db: asyncpg.Connection[asyncpg.Record]) -> AsyncIterator[Ground]:
    """A database with the schema, and connections to it."""
    async with Ground(dsn, db) as ground:
        yield ground


@pytest.fixture
async def committing(ground: Ground) -> AsyncIterator[Committing]:
    """The group commit of a worker that has no code."""
    async with Committing(ground) as committing:
        yield committing
