"""Operating runs: pause, resume, wake, terminate, cancel; by their ids, many in one statement."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING
from uuid import UUID

from holdfast.store.inbox import about

if TYPE_CHECKING:
    from holdfast.store.session import Session


class Verb(StrEnum):
    """What can be done to any number of runs in one statement."""

    PAUSE = "pause_runs"
    PAUSE_AT_ONCE = "pause_runs at once"
    RESUME = "resume_runs"
    WAKE = "wake_runs"
    TERMINATE = "terminate_runs"
    CANCEL = "cancel_runs"


async def operate(session: Session, verb: Verb, runs: Sequence[UUID]) -> dict[UUID, str]:
    """Does it to each of these runs, and gives what came of each: done, requested, nothing or ended.

    Raises:
        RunNotFound: one of them does not exist; nothing is done to any.
    """
    name, _, at_once = verb.partition(" ")
    values: dict[str, object] = {"runs": list(runs)}
    if name == Verb.PAUSE:
        values["at_once"] = bool(at_once)
    with about(runs[0]):
        return dict(map(tuple, await session.fetch(name, **values)))
