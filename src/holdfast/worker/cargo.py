"""Cargo: what a claim brought into this process."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from holdfast.core.journal import Entry
    from holdfast.store import work
    from holdfast.store.writes import Beat


class Cargo:
    """What a claim brought, with the journals, inboxes and heartbeats that it needs."""

    __slots__ = ("asked_at", "at", "beats", "inboxes", "journals", "runs")

    def __init__(
        self,
        runs: Sequence[work.Claimed],
        journals: dict[UUID, list[Entry]],
        inboxes: dict[UUID, list[work.Letter]],
        beats: dict[UUID, list[Beat]],
        *,
        at: datetime,
        asked_at: float,
    ) -> None:
        self.at = at
        """What was due by then is due; the rest was taken ahead of its time."""
        self.asked_at = asked_at
        self.runs = runs
        self.journals = journals
        self.inboxes = inboxes
        self.beats = beats
