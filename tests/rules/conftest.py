"""What the tests of the rules stand on."""

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
