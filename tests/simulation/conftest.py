"""A laboratory for each module: making its database costs more than a schedule in it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from holdfast.testing import Databases
from tests.simulation.laboratory import Laboratory


@pytest.fixture(scope="module")
def simulation_dsn(holdfast_databases: Databases) -> Iterator[str]:
    """A database with Holdfast's schema."""
    dsn = asyncio.run(holdfast_databases.create())
    yield dsn
    asyncio.run(holdfast_databases.drop(dsn))


@pytest.fixture(scope="module")
def laboratory(simulation_dsn: str) -> Iterator[Laboratory]:
    """Where schedules of the engine as it is are simulated."""
    laboratory = Laboratory(simulation_dsn)
    yield laboratory
    laboratory.close()
