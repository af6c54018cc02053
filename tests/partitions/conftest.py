"""Here every test's database is divided by day."""

from __future__ import annotations

import asyncio
import itertools
import time

import pytest

from holdfast.embedded import EmbeddedPostgres
from holdfast.testing import Databases
from tests.conftest import TEMPLATE
from tests.partitions.divided import divided_databases
from tests.rules.conftest import changed, committing, ground
from tests.store import ground as ground_module

__all__ = ["changed", "committing", "ground"]


@pytest.fixture(scope="session")
def holdfast_databases(server: EmbeddedPostgres) -> Databases:
    return asyncio.run(divided_databases(server, whole=TEMPLATE))


@pytest.fixture(autouse=True)
def ids_of_today(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs of tests without clients lie in a day, too."""
    monkeypatch.setattr(ground_module, "_ids", itertools.count(time.time_ns() // 1_000_000))
