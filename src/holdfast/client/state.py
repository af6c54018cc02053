"""What a run lets everybody know."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

from holdfast.client.context import plain_json
from holdfast.client.options import name_mistakes
from holdfast.client.outcome import read_failure
from holdfast.core.errors import InvalidInput, RunNotFound, Unstorable
from holdfast.store.runs import read_state

if TYPE_CHECKING:
    from holdfast.client.context import Context
    from holdfast.core.returns import Returns

T = TypeVar("T")

_PLAIN = plain_json("the value of a state")


async def plain_state(context: Context, run_id: UUID, name: str) -> Any:
    """The newest value of the state ``name``, as plain JSON; None where it was never set."""
    for mistake in name_mistakes("the key of a state", name):
        raise InvalidInput(mistake)
    return await state(context, run_id, name, _PLAIN)


async def state(context: Context, run_id: UUID, name: str, returns: Returns[T]) -> T | None:
    """The newest value of the state ``name``; None where it was never set.

    Raises:
        RunNotFound: there is no such run.
        InvalidInput: what was set does not fit the type.
        Unstorable: what was set could not be stored.
        Unreadable: the codec that it was written with is missing here.
    """
    told = await context.database.call(lambda session: read_state(session, run_id, name))
    if told is None:
        raise RunNotFound(run_id)
    if told.error is not None:
        raise Unstorable(read_failure(told.error, context.seal).message)
    return None if told.output is None else returns.decode(context.seal.open(told.output))
