"""Updates: sent to the inbox of a run, and answered in its journal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

from holdfast.core.states import Ending
from holdfast.store.inbox import Hint, about

if TYPE_CHECKING:
    from holdfast.store.session import Session


class Sent(NamedTuple):
    """An update that a run has, or has had: in this run, under this number."""

    run_id: UUID
    number: int


async def send_update(session: Session, run_id: UUID, *, name: str, payload: str, key: str | None, hint: Hint) -> Sent:
    """Puts an update into the run's inbox, once for each key; ``hint`` takes the hints to be sent after it."""
    with about(run_id):
        row = await session.row("send_update_quietly", run=run_id, name=name, payload=payload, key=key)
    assert row is not None
    for said in (row["hints"] or "").splitlines():
        hint(said)
    in_run, number = row["answer"]
    return Sent(in_run, number)


class Replied(NamedTuple):
    """What became of an update: an answer, an error that refuses it, or the end of the run without either."""

    sent: Sent
    answered: bool
    output: str | None
    error: str | None
    ending: Ending | None
    failure: str | None
    successor: UUID | None
    """Who has the update now, if the run goes on as another one."""


async def read_replies(session: Session, updates: Sequence[Sent]) -> list[Replied]:
    """Of these updates those of which something has become."""
    runs, numbers = [one.run_id for one in updates], [one.number for one in updates]
    return [
        Replied(
            Sent(run_id, number),
            bool(answered),
            output,
            error,
            None if status is None else Ending(status),
            failure,
            successor,
        )
        for run_id, number, answered, output, error, status, failure, successor in await session.fetch(
            "read_replies", runs=runs, numbers=numbers
        )
    ]
