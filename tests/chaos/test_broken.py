"""The broken engines of ``./dev chaos --broken``: each can be made, and each is put to a trial of its own."""

from __future__ import annotations

import asyncpg
import pytest

from holdfast.store.statements import Statements
from tests.chaos.broken import TRIALS
from tests.chaos.faults import SAID_BY_CLIENTS, SAID_BY_WORKERS
from tests.chaos.findings import Findings
from tests.chaos.trial import Plan, run
from tests.chaos.verdict import look_at_invariants
from tests.rules.defects import DEFECTS
from tests.store.ground import Ground


def test_every_defect_has_its_trial() -> None:
    assert list(TRIALS) == list(DEFECTS)


@pytest.mark.parametrize("name", DEFECTS)
async def test_the_engine_can_be_broken_so(
    name: str, dsn: str, db: asyncpg.Connection[asyncpg.Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Whatever it replaces is there: a list that no longer fits the engine would find nothing to break.
    async with Ground(dsn, db):
        await DEFECTS[name](db, monkeypatch)
        await TRIALS[name].slowed(db, monkeypatch)


def test_what_answers_are_lost_of_is_said() -> None:
    # Each is a part of a statement: one that was renamed would be waited for in vain.
    texts = [statement.text for statement in Statements()]
    parts = {*SAID_BY_WORKERS, *SAID_BY_CLIENTS} - {"COMMIT"}
    assert [part for part in parts if not any(part in text for text in texts)] == []


async def test_a_finding_names_the_invariant_and_its_rows(dsn: str, db: asyncpg.Connection[asyncpg.Record]) -> None:
    async with Ground(dsn, db) as ground:
        findings = Findings()
        await look_at_invariants(dsn, findings)
        assert not findings
        run_id = await ground.start()
        await ground.execute("delete from holdfast.task")
        await look_at_invariants(dsn, findings)
        assert [(one.check, one.run_id) for one in findings.all] == [
            ("1b. no run has neither a task nor a result", run_id)
        ]


async def test_a_fault_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match="there is no fault 'flood'; there are: kill -9, SIGSTOP"):
        await run(Plan(seed=1, seconds=1.0, only=frozenset({"flood"})))
