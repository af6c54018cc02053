"""The modes of a worker, and which duties each of them has."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

ModeName = Literal["full", "coordinator", "execution", "drain"]


class Duty(StrEnum):
    """What there is to be done in a lane."""

    SCAN = "scan ahead of time"
    """See what the clock brings, whoever holds it: ticks of schedules, timeouts, requests to cancel, old records."""
    ONBOARD = "onboard to buckets"
    """Put what is due into buckets. In one database it is done by the claim itself."""
    CLAIM = "claim buckets"
    """Own buckets, and take what is due into them."""
    EXECUTE = "execute handlers"
    SYNC = "sync state to the master"
    """Write down what has become of runs. In one database that is the commit itself."""
    ACCEPT = "accept new work"
    RECOVER = "recover orphaned buckets"
    """Make the runs due again that workers held which are gone."""


class Mode(StrEnum):
    """What a worker is for. One of them alone does everything; the others share it."""

    FULL = "full"
    COORDINATOR = "coordinator"
    EXECUTION = "execution"
    DRAIN = "drain"

    def does(self, duty: Duty) -> bool:
        """Whether it has this duty."""
        return duty in DUTIES[self]


DUTIES: dict[Mode, frozenset[Duty]] = {
    Mode.FULL: frozenset(Duty),
    Mode.COORDINATOR: frozenset({Duty.SCAN, Duty.ONBOARD, Duty.ACCEPT}),
    Mode.EXECUTION: frozenset({Duty.CLAIM, Duty.EXECUTE, Duty.SYNC, Duty.ACCEPT}),
    Mode.DRAIN: frozenset({Duty.SYNC, Duty.RECOVER}),
}
"""The matrix: which mode has which duties."""
