"""Sending an update to a run, and waiting for its answer."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

from holdfast.client.context import plain_json
from holdfast.client.options import key_mistakes, name_mistakes
from holdfast.client.outcome import read_failure
from holdfast.core.errors import (
    DatabaseUnavailable,
    InvalidInput,
    MissingClass,
    ReplyTimeout,
    RunEnded,
    UpdateRejected,
)
from holdfast.core.failure import Failure
from holdfast.core.remake import type_name
from holdfast.core.states import Ending
from holdfast.store.updates import Replied, Sent, send_update

if TYPE_CHECKING:
    from holdfast.client.context import Context
    from holdfast.core.returns import Returns
    from holdfast.core.seal import Seal
    from holdfast.core.signal import UpdateType
    from holdfast.store.session import Session

T = TypeVar("T")
R = TypeVar("R")

_PLAIN = plain_json("the input of an update")
_ANSWER = plain_json("the answer to an update")


async def update(
    context: Context, run_id: UUID, kind: UpdateType[T, R], value: T, *, key: str | None, timeout: timedelta | None
) -> R:
    """Sends a typed update, and gives its answer."""
    text, read = kind.takes.encode(value)
    try:
        kind.check(read)
    except Exception as error:
        raise UpdateRejected(run_id, kind.name, type_name(type(error)), str(error)) from error
    return await _ask(context, run_id, kind.name, text, kind.gives, key=key, timeout=timeout)


async def update_by_name(
    context: Context, run_id: UUID, name: str, value: object, *, key: str | None, timeout: timedelta | None
) -> Any:
    """Sends an update with plain JSON, and gives its answer as such."""
    for mistake in name_mistakes("the name of an update", name):
        raise InvalidInput(mistake)
    text, _ = _PLAIN.encode(value)
    return await _ask(context, run_id, name, text, _ANSWER, key=key, timeout=timeout)


async def _ask(
    context: Context,
    run_id: UUID,
    name: str,
    text: str,
    gives: Returns[R],
    *,
    key: str | None,
    timeout: timedelta | None,
) -> R:
    for mistake in key_mistakes("key", key):
        raise InvalidInput(f"update {name!r} cannot be sent: {mistake}")
    if timeout is not None and not _is_duration(timeout):
        raise InvalidInput(f"timeout is {timeout!r}: use a timedelta of zero or more")
    payload = context.seal.close(text, what=f"the input of update {name!r}")
    clock = asyncio.timeout(None if timeout is None else timeout.total_seconds())
    try:
        async with clock:
            sent = await _send(context, run_id, name, payload, key)
            replied = await context.replies.wait(sent)
    except TimeoutError:
        if not clock.expired() or timeout is None:
            raise
        raise ReplyTimeout(run_id, name, timeout) from None
    return _opened(run_id, name, replied, gives, context.seal)


async def _send(context: Context, run_id: UUID, name: str, payload: str, key: str | None) -> Sent:
    async def store(session: Session) -> Sent:
        return await send_update(session, run_id, name=name, payload=payload, key=key, hint=context.hinter.add)

    if key is not None:
        return await context.database.call(store)
    try:
        return await context.database.call_once(store)
    except DatabaseUnavailable as error:
        raise DatabaseUnavailable(
            f"{error}; whether update {name!r} was stored is not known: with a key= it would be sent again by itself"
        ) from error


def _opened(run_id: UUID, name: str, replied: Replied, gives: Returns[R], seal: Seal) -> R:
    if not replied.answered:
        raise _unanswered(run_id, name, _end(replied, seal))
    if replied.error is None:
        return gives.decode(None if replied.output is None else seal.open(replied.output))
    failure = read_failure(replied.error, seal)
    if failure.type == type_name(RunEnded):
        raise _unanswered(run_id, name, failure.message)
    raise UpdateRejected(run_id, name, failure.type, failure.message) from _cause(failure)


def _unanswered(run_id: UUID, name: str, how: str) -> RunEnded:
    return RunEnded(run_id, f"run {run_id} has ended without answering update {name!r}: {how}")


def _is_duration(value: object) -> bool:
    return isinstance(value, timedelta) and value >= timedelta(0)


def _end(replied: Replied, seal: Seal) -> str:
    match replied.ending:
        case Ending.FAILED:
            failure = read_failure(replied.failure, seal)
            return f"it failed with {failure.type}: {failure.message}"
        case Ending.CANCELLED:
            return "it was cancelled"
        case _:
            return "it has succeeded"


def _cause(failure: Failure) -> BaseException | None:
    if failure.type == type_name(UpdateRejected):
        return None
    try:
        return failure.exception("")
    except MissingClass:
        # Nobody branches on a cause: what is known of it stands in the error itself.
        return None
