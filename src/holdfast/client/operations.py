"""Operating runs that are open: pause, resume, wake, terminate."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING
from uuid import UUID

from holdfast.store.operations import Verb
from holdfast.store.operations import operate as _operate

if TYPE_CHECKING:
    from holdfast.client.context import Context
    from holdfast.integrations.catalogue import CallersConnection
    from holdfast.store.session import Session


class Effect(StrEnum):
    """What became of an operation on a run."""

    DONE = "done"
    REQUESTED = "requested"
    """A worker holds the run: it obeys within a second."""
    NOTHING = "nothing"
    """There was nothing to do: it was so already, or it does not apply to where the run is."""
    ENDED = "ended"
    """The run had ended before."""


async def operate(
    context: Context, verb: Verb, runs: Sequence[UUID], *, connection: CallersConnection | None = None
) -> dict[UUID, Effect]:
    """Does it to these runs, in one transaction.

    Raises:
        RunNotFound: one of them does not exist; nothing is done to any.
    """

    async def work(session: Session) -> dict[UUID, str]:
        return await _operate(session, verb, runs)

    # A second wake would ring another timer; the others change nothing the second time.
    call = context.database.call_once if verb is Verb.WAKE else context.database.call
    return {run_id: Effect(effect) for run_id, effect in (await call(work, connection)).items()}
