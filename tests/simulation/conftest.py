"""For each module one process or laboratory: making its database costs more than a schedule in it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from holdfast.embedded import EmbeddedPostgres
from holdfast.testing import Databases
from tests.simulation.examiners import Examiners
from tests.simulation.laboratory import Laboratory


@pytest.fixture(scope="module")
def simulation_dsn(holdfast_databases: Databases) -> Iterator[str]:
    """A database with Holdfast's schema."""
    dsn = asyncio.run(holdfast_databases.create())
    yield dsn
    asyncio.run(holdfast_databases.drop(dsn))


@pytest.fixture(scope="module")
def examiner(server: EmbeddedPostgres, holdfast_databases: Databases) -> Iterator[Examiners]:
    """Where seeds are examined: in a process like those of the command, so that each gives what it gives there."""
    with Examiners(server.dsn, template=holdfast_databases.template) as examiner:
        yield examiner


@pytest.fixture(scope="module")
def laboratory(simulation_dsn: str) -> Iterator[Laboratory]:
    """The same in this process, where a seed gives another schedule than elsewhere."""
    laboratory = Laboratory(simulation_dsn)
    yield laboratory
    laboratory.close()
