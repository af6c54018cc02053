"""The group commit by itself: runs without code hand in what they want written, and note what becomes of it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Self
from uuid import UUID

from holdfast.core.listeners import Listeners
from holdfast.store.link import Link
from holdfast.store.work import Letter, Seen
from holdfast.worker.clock import DatabaseClock
from holdfast.worker.group_commit import GroupCommit
from holdfast.worker.held import Unit
from holdfast.worker.herald import Herald
from tests.store.ground import Ground, Hand


class Owner:
    """A run in memory that does nothing but note what it is told."""

    bucket: Any = None
    name = "owner"
    crashed = 0
    looked_at = 0.0

    def __init__(self, run_id: UUID, hold: int) -> None:
        self.run_id = run_id
        self.hold = hold
        self.told: list[str] = []

    def begin(self) -> None: ...

    def letters(self, letters: Sequence[Letter]) -> None: ...

    def receive(self, letters: Sequence[Letter]) -> None: ...

    def give_back(self, *, after: timedelta | None = None, untouched: bool = False) -> bool:
        """There is nothing to give back."""
        return False

    def looked(self, seen: Seen | None) -> bool:
        return False

    def committed(self, unit: Unit, at: datetime) -> None:
        self.told.append("committed")

    def overtaken(self, unit: Unit) -> Unit | None:
        """Ends of attempts are not what these tests write."""
        return unit

    def lost(self) -> None:
        self.told.append("lost")

    def rejected(self, unit: Unit, error: BaseException) -> None:
        self.told.append("rejected")

    def drain(self) -> None: ...

    def close(self) -> None: ...


class Committing:
    """A worker's group commit, and the runs that it has claimed."""

    def __init__(self, ground: Ground) -> None:
        self.ground = ground
        self.hand: Hand
        self._links: list[Link] = []
        self._commits: list[GroupCommit] = []

    async def __aenter__(self) -> Self:
        self.hand = await self.ground.worker()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for commit in self._commits:
            commit.close()
        await asyncio.sleep(0)  # lets what was cancelled end
        for link in self._links:
            link.discard()

    def commit(self, *, dsn: str | None = None, limit: float = 10.0) -> GroupCommit:
        """A group commit of this worker, over connections of its own."""
        flushes, patient = [
            Link(dsn or self.ground.dsn, self.ground.statements, application=name) for name in ("flushes", "patient")
        ]
        self._links += [flushes, patient]
        commit = GroupCommit(
            flushes,
            patient,
            self.hand.identity,
            DatabaseClock(),
            limit=limit,
            fenced=_nobody,
            flushed=lambda units: None,
            told=lambda flushed: None,
            doubted=lambda: None,
            herald=Herald(Listeners()),
        )
        self._commits.append(commit)
        return commit

    async def claim(self, count: int) -> list[Owner]:
        """So many runs, claimed."""
        runs = await self.ground.start_many(count)
        await self.hand.take(*runs)
        return [Owner(run, self.hand.holds[run]) for run in runs]


def _nobody(error: BaseException) -> None:
    raise AssertionError("the worker is fenced") from error
