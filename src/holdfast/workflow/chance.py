"""Random numbers that are the same on every replay of a run."""

from __future__ import annotations

from random import Random
from typing import NamedTuple
from uuid import UUID

from holdfast.workflow.current import workflow_loop


class Chance(NamedTuple):
    """The streams of one run. Apart, so that a new call of one does not change what the other gives."""

    run_id: UUID
    numbers: Random
    identities: Random


def random() -> Random:
    """The run's stream of random numbers: it begins with the run's id, so it can be foreseen and keeps no secret."""
    return _chance("random()", "use the module random").numbers


def uuid4() -> UUID:
    """A random UUID from a stream that begins with the run's id: unique, but to be foreseen, so it keeps no secret."""
    return UUID(int=_chance("uuid4()", "use uuid.uuid4()").identities.getrandbits(128), version=4)


def _chance(what: str, otherwise: str) -> Chance:
    loop = workflow_loop(what, otherwise)
    run_id = loop.known_as.run_id
    chance: Chance | None = loop.chance
    if chance is None or chance.run_id != run_id:
        chance = loop.chance = Chance(run_id, Random(run_id.int), Random(~run_id.int))
    return chance
