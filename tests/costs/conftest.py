"""A server of their own: WAL and transactions are counted for a whole server, and here nobody else may add to them."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast.embedded import EmbeddedPostgres, EmbeddedSettings
from holdfast.testing import Databases


@pytest.fixture(scope="session")
def server(request: pytest.FixtureRequest) -> Iterator[EmbeddedPostgres]:
    """Used by the tests of this folder in one process, and gone with it."""
    memory = Path("/dev/shm")  # noqa: S108 - the data is worth nothing
    place = Path(tempfile.mkdtemp(prefix="holdfast-costs-", dir=memory if memory.is_dir() else None))
    place.chmod(0o711)
    bin_dir = request.config.getoption("--postgres")
    settings = EmbeddedSettings(
        data_dir=place / "data",
        bin_dir=None if bin_dir is None else Path(bin_dir),
        durability="test",
        temporary=True,
        # What runs by itself would be counted.
        options={"autovacuum": "off", "bgwriter_delay": "10s", "checkpoint_timeout": "1h"},
    )
    with EmbeddedPostgres(settings) as server:
        yield server
    shutil.rmtree(place, ignore_errors=True)


@pytest.fixture(scope="session")
def holdfast_databases(server: EmbeddedPostgres) -> Databases:
    databases = Databases(server.dsn, template="holdfast_template")
    asyncio.run(databases.__aenter__())
    return databases
