"""What is sent to runs: signals, and requests to cancel."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeAlias
from uuid import UUID

import asyncpg

from holdfast.core.errors import CompletionRefused, RunEnded, RunNotFound
from holdfast.core.journal import EntryKind

if TYPE_CHECKING:
    from holdfast.core.token import Token
    from holdfast.store.session import Session

_NOT_FOUND = "HF003"
_ENDED = "HF004"
_REFUSED = "HF008"


Hint: TypeAlias = Callable[[str], None]
"""Takes a hint that is to be sent once the statement is committed."""


async def send_signal(
    session: Session, run_id: UUID, *, name: str, payload: str, key: str | None, hint: Hint | None = None
) -> bool:
    """Puts a signal into the run's inbox; False where one with this key lay there before.

    Without ``hint`` its hints are part of the transaction.
    """
    return bool(await _tell(session, "send_signal", hint, run=run_id, name=name, payload=payload, key=key))


async def request_cancel(session: Session, run_id: UUID, *, hint: Hint | None = None) -> str:
    """Cancels the run, at once or by asking it to; gives ``cancelled``, ``requested`` or ``ended``."""
    return str(await _tell(session, "request_cancel", hint, run=run_id))


async def complete_attempt(
    session: Session, token: Token, *, payload: str, failed: bool, call: str, hint: Hint | None = None
) -> None:
    """Puts the value, or the failure, of an attempt into its run's inbox; ``call`` is that of a resend too."""
    kind = EntryKind.FAILED if failed else EntryKind.COMPLETED
    with about(token.run_id):
        await _call(session, "complete_attempt", hint, token=token.text, kind=kind, payload=payload, call=call)


async def _tell(session: Session, statement: str, hint: Hint | None, *, run: UUID, **values: object) -> object:
    with about(run):
        return await _call(session, statement, hint, run=run, **values)


async def _call(session: Session, statement: str, hint: Hint | None, **values: object) -> object:
    if hint is None:
        return await session.value(statement, **values)
    row = await session.row(f"{statement}_quietly", **values)
    assert row is not None
    for payload in (row["hints"] or "").splitlines():
        hint(payload)
    answer: object = row["answer"]
    return answer


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
            case code if code == _REFUSED:
                raise CompletionRefused(run_id, str(error.args[0])) from None
            case _:
                raise
