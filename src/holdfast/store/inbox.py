"""What is sent to runs: signals, and requests to cancel."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from uuid import UUID

import asyncpg

from holdfast.core.errors import RunEnded, RunNotFound

if TYPE_CHECKING:
    from holdfast.store.session import Session

_NOT_FOUND = "HF003"
_ENDED = "HF004"


async def send_signal(session: Session, run_id: UUID, *, name: str, payload: str, key: str | None) -> bool:
    """Puts a signal into the run's inbox; False where one with this key lay there before."""
    with about(run_id):
        return bool(await session.value("send_signal", run=run_id, name=name, payload=payload, key=key))


async def request_cancel(session: Session, run_id: UUID) -> str:
    """Cancels the run, at once or by asking it to; gives ``cancelled``, ``requested`` or ``ended``."""
    with about(run_id):
        return str(await session.value("request_cancel", run=run_id))


@contextmanager
def about(run_id: UUID) -> Generator[None]:
    """The database's refusals leave this block as errors about that run."""
    try:
        yield
    except asyncpg.PostgresError as error:
        match error.sqlstate:
            case code if code == _NOT_FOUND:
                raise RunNotFound(run_id) from None
            case code if code == _ENDED:
                raise RunEnded(run_id) from None
            case _:
                raise
