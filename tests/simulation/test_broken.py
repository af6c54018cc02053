"""Engines that are broken on purpose are caught: those that are quick. All of them: ``./dev simulate --broken``."""

from __future__ import annotations

import asyncio

import pytest

from holdfast.embedded import EmbeddedPostgres
from holdfast.testing import Databases
from tests.rules.defects import DEFECTS
from tests.simulation.engines import ENGINES
from tests.simulation.examiners import Examiners
from tests.simulation.laboratory import Laboratory

_SEEDS = 60


@pytest.mark.parametrize(
    ("broken", "first"),
    [
        ("outcome seen before its commit", 4),
        ("old identity after fencing", 5),
        ("park without the inbox counter", 6),
    ],
)
def test_it_is_caught(server: EmbeddedPostgres, holdfast_databases: Databases, broken: str, first: int) -> None:
    # The first of these shows it, until something is changed for which seeds deal something else.
    with Examiners(server.dsn, template=holdfast_databases.template, broken=broken) as examiner:
        for seed in range(first, first + _SEEDS):
            report = examiner.examine(seed)
            if report.wrong:
                assert not report.fell, report.tell(broken)
                return
    pytest.fail(f"{_SEEDS} schedules have shown nothing")


@pytest.mark.parametrize("name", [name for name in ENGINES if ENGINES[name] is not DEFECTS[name]])
def test_the_engine_can_be_broken_so(holdfast_databases: Databases, name: str) -> None:
    # Whatever it replaces is there: a list that no longer fits the engine would find nothing to break.
    dsn = asyncio.run(holdfast_databases.create())
    laboratory = Laboratory(dsn, ENGINES[name])
    assert laboratory.broken() == []
    laboratory.close()
    asyncio.run(holdfast_databases.drop(dsn))
