"""A ground for each test of the store."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest

from tests.store.ground import Ground
from tests.store.million import big, million

__all__ = ["big", "ground", "million"]


@pytest.fixture
async def ground(dsn: str, db: asyncpg.Connection[asyncpg.Record]) -> AsyncIterator[Ground]:
    """A database with the schema, and connections to it."""
    async with Ground(dsn, db) as ground:
        yield ground
