"""A consumer, as those see it who ask who consumes a queue."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from holdfast.core.queue import ConsumerState


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumerInfo:
    """What a consumer has said of itself with its last heartbeat; every few seconds, and when its state changes."""

    name: str
    queue: str
    host: str
    pid: int
    state: ConsumerState
    in_hands: int
    """How many messages it has given out that are not settled."""
    handled: int
    """How many it has acknowledged or archived."""
    rate: float
    """How many of them in a second, between its last two heartbeats."""
    started_at: datetime
    seen_at: datetime
