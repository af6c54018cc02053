"""An app with a bit of everything, and the environment to test it in."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime

import pytest

from holdfast.testing import Env, OpenEnv
from tests.house import check_invariants
from tests.testing import shop

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
async def env(holdfast_env: OpenEnv) -> AsyncIterator[Env]:
    """The shop, at noon on the first of March; every invariant holds at the end."""
    shop.done.clear()
    async with holdfast_env(shop.app, at=NOON) as env:
        yield env
        await env.settled()
        await check_invariants(env.database_url)


@pytest.fixture
def done() -> Callable[[], list[str]]:
    """What the activities have done."""
    return lambda: list(shop.done)
