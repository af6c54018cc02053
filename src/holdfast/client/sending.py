"""What is sent to a run: signals, and requests to cancel."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, TypeVar
from uuid import UUID

from holdfast.client.context import plain_json
from holdfast.client.options import key_mistakes, name_mistakes
from holdfast.core.errors import DatabaseUnavailable, InvalidInput
from holdfast.store.inbox import Hint, request_cancel, send_signal

if TYPE_CHECKING:
    from holdfast.client.context import Context
    from holdfast.core.signal import SignalType
    from holdfast.integrations.catalogue import CallersConnection
    from holdfast.store.session import Session

T = TypeVar("T")

_PLAIN = plain_json("the payload of a signal")


class Cancellation(StrEnum):
    """What became of a request to cancel."""

    CANCELLED = "cancelled"
    """The run has ended as cancelled: nothing of it had begun."""
    REQUESTED = "requested"
    """The run will be told, and may clean up first."""
    ENDED = "ended"
    """The run had ended before."""


async def signal(
    context: Context,
    run_id: UUID,
    kind: SignalType[T],
    value: T,
    *,
    key: str | None,
    connection: CallersConnection | None,
) -> bool:
    """Sends a typed signal; False where one with this key was sent to this run before."""
    payload, _ = kind.returns.encode(value)
    return await _send(context, run_id, kind.name, payload, key=key, connection=connection)


async def signal_by_name(
    context: Context, run_id: UUID, name: str, value: object, *, key: str | None, connection: CallersConnection | None
) -> bool:
    """Sends a signal with a payload of plain JSON; False where one with this key was sent to this run before."""
    for mistake in name_mistakes("the name of a signal", name):
        raise InvalidInput(mistake)
    payload, _ = _PLAIN.encode(value)
    return await _send(context, run_id, name, payload, key=key, connection=connection)


async def cancel(context: Context, run_id: UUID, *, connection: CallersConnection | None) -> Cancellation:
    """Cancels the run."""
    hint = _after_commit(context, connection)
    word = await context.database.call(lambda session: request_cancel(session, run_id, hint=hint), connection)
    return Cancellation(word)


async def _send(
    context: Context, run_id: UUID, name: str, text: str, *, key: str | None, connection: CallersConnection | None
) -> bool:
    for mistake in key_mistakes("key", key):
        raise InvalidInput(f"signal {name!r} cannot be sent: {mistake}")
    payload = context.seal.close(text, what=f"the payload of signal {name!r}")

    hint = _after_commit(context, connection)

    async def store(session: Session) -> bool:
        return await send_signal(session, run_id, name=name, payload=payload, key=key, hint=hint)

    if key is not None:
        return await context.database.call(store, connection)
    try:
        return await context.database.call_once(store, connection)
    except DatabaseUnavailable as error:
        raise DatabaseUnavailable(
            f"{error}; whether signal {name!r} was stored is not known: with a key= it would be sent again by itself"
        ) from error


def _after_commit(context: Context, connection: CallersConnection | None) -> Hint | None:
    """Where hints go: in a transaction of the caller's they are part of it, since nobody else knows when it commits."""
    return context.hinter.add if connection is None else None
