"""Queues: how their lanes are called, and how the messages on them stand."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal, NamedTuple
from uuid import UUID

_SUFFIX = " queue"
"""No lane of a user has a blank in its name: so no worker serves the lane of a queue."""

MOST_DELIVERIES = 20
"""So often a message is delivered, unless its queue says otherwise; then it becomes a dead letter."""

Lost = Literal["gone", "taken", "released", "dead"]
"""Why a receipt is not valid any more."""


class Receipt(NamedTuple):
    """What says that a message, or a run that is driven by hand, is in somebody's hands: as it was taken this time."""

    run_id: UUID
    hold: int


class MessageState(StrEnum):
    """How a message stands: derived from its task, stored nowhere."""

    READY = "ready"
    """Due: the next who receives may have it."""
    DELAYED = "delayed"
    """Due later."""
    IN_FLIGHT = "in flight"
    """In the hands of a consumer, until it is settled or its visibility timeout has passed."""
    PAUSED = "paused"
    DEAD = "dead"
    """A dead letter: nobody gets it until it is redriven."""


MESSAGE_TRANSITIONS: dict[MessageState, frozenset[MessageState]] = {
    MessageState.READY: frozenset({MessageState.IN_FLIGHT, MessageState.PAUSED, MessageState.DEAD}),
    MessageState.DELAYED: frozenset({MessageState.READY, MessageState.PAUSED}),
    MessageState.IN_FLIGHT: frozenset({*MessageState} - {MessageState.IN_FLIGHT}),
    MessageState.PAUSED: frozenset({*MessageState} - {MessageState.PAUSED}),
    MessageState.DEAD: frozenset({MessageState.READY, MessageState.PAUSED}),
}
"""Which state may follow on which; from each but ``dead`` a message may be gone next, acknowledged or purged."""


def lane_of(queue: str) -> str:
    """The lane in which the messages of a queue stand, which is also the name of their runs."""
    return f"{queue}{_SUFFIX}"


def queue_of(lane: str) -> str:
    """The queue whose lane this is."""
    return lane.removesuffix(_SUFFIX)


class ConsumerState(StrEnum):
    """What a consumer is doing, as of its last heartbeat."""

    READY = "ready"
    """It has messages in hands, or is about to ask for some."""
    POLLING = "polling"
    """It waits for messages."""
    SUSPENDED = "suspended"
    """It was told to take none."""
    STOPPED = "stopped"
    """It has left."""
    LOST = "lost"
    """Its lease has ended without a word from it."""


CONSUMER_TRANSITIONS: dict[ConsumerState, frozenset[ConsumerState]] = {
    ConsumerState.READY: frozenset({*ConsumerState} - {ConsumerState.READY}),
    ConsumerState.POLLING: frozenset({*ConsumerState} - {ConsumerState.POLLING}),
    ConsumerState.SUSPENDED: frozenset({*ConsumerState} - {ConsumerState.SUSPENDED}),
    ConsumerState.STOPPED: frozenset(),
    ConsumerState.LOST: frozenset(),
}
"""Which state may follow on which. One that was lost and goes on is registered anew."""
