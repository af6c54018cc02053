"""Completing activities from outside, by the token that an attempt has given away."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import uuid4

from holdfast.client.context import plain_json
from holdfast.core.errors import ActivityFailed, InvalidInput, Unstorable
from holdfast.core.failure import Failure
from holdfast.core.remake import type_name
from holdfast.core.token import Token
from holdfast.store.inbox import complete_attempt

if TYPE_CHECKING:
    from holdfast.client.context import Context
    from holdfast.core.definition import Definition
    from holdfast.integrations.catalogue import CallersConnection
    from holdfast.store.session import Session

_PLAIN = plain_json("the result of an activity")


async def complete(
    context: Context,
    text: str,
    value: object,
    activity: Definition[..., Any] | None,
    *,
    connection: CallersConnection | None,
) -> None:
    """This value is the result of the activity.

    Raises:
        InvalidInput: it is no token, or that of another activity, or the value does not fit what the activity returns.
        CompletionRefused: it was completed before, or its attempt is over.
        RunEnded, RunNotFound: nobody waits for it any more.
    """
    token = Token.parse(text)
    if activity is not None and activity.name != token.activity:
        raise InvalidInput(f"this token is of activity {token.activity!r}, not of {activity.what}")
    known = activity or context.definitions.get(token.activity)
    if known is None:
        output, _ = _PLAIN.encode(value)
    else:
        try:
            output, _ = known.returns.encode(value)
        except Unstorable as misfit:
            raise InvalidInput(str(misfit)) from misfit
    payload = context.seal.close(output, what=f"the result of activity {token.activity!r}")
    await _send(context, token, payload, failed=False, connection=connection)


async def fail(
    context: Context, text: str, error: BaseException | str, *, connection: CallersConnection | None
) -> None:
    """The attempt has failed with this error; what follows is for the activity's retry policy to say.

    Raises:
        InvalidInput, CompletionRefused, RunEnded, RunNotFound: as for ``complete``.
    """
    token = Token.parse(text)
    told = Failure(type=type_name(ActivityFailed), message=error) if isinstance(error, str) else Failure.of(error)
    payload = context.seal.close(told.to_json(), what="an error")
    await _send(context, token, payload, failed=True, connection=connection)


async def _send(
    context: Context, token: Token, payload: str, *, failed: bool, connection: CallersConnection | None
) -> None:
    call = f"complete {uuid4()}"
    hint = context.hinter.add if connection is None else None

    async def store(session: Session) -> None:
        await complete_attempt(session, token, payload=payload, failed=failed, call=call, hint=hint)

    await context.database.call(store, connection)
