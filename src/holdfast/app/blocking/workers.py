"""The verbs of workers, blocking. Written by `./dev write` from holdfast.client.workers: change it there."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from holdfast.client.workers import PATIENCE

if TYPE_CHECKING:
    from holdfast.app.blocking.bridge import Bridge
    from holdfast.client.client import Client
    from holdfast.client.overview import Overview
    from holdfast.client.workers import WorkerAnswer, WorkerSummary


class BlockingWorkers:
    """The workers of this database and schema, wherever they run: ``client.workers``, for code that is not async.

    Every verb of :class:`Workers`, with the same parameters, which waits and gives the result.
    """

    def __init__(self, bridge: Bridge[Client]) -> None:
        self._bridge = bridge

    def list(self, *, name: str | None = None, lane: str | None = None) -> Sequence[WorkerSummary]:
        """The workers that are there, those that are dead, and those whose runs others are still taking over."""
        return self._bridge.call(lambda client: client.workers.list(name=name, lane=lane))

    def overview(self, *, lane: str | None = None) -> Overview:
        """What stands in line, who takes it, and how much is done: of everything, or of one lane."""
        return self._bridge.call(lambda client: client.workers.overview(lane=lane))

    def pause(
        self, name: str | None = None, *, lane: str | None = None, all: bool = False, wait: timedelta = PATIENCE
    ) -> Sequence[WorkerAnswer]:
        """Has them begin no run any more: what they have begun goes on."""
        return self._bridge.call(lambda client: client.workers.pause(name, lane=lane, all=all, wait=wait))

    def resume(
        self, name: str | None = None, *, lane: str | None = None, all: bool = False, wait: timedelta = PATIENCE
    ) -> Sequence[WorkerAnswer]:
        """Has paused ones work again."""
        return self._bridge.call(lambda client: client.workers.resume(name, lane=lane, all=all, wait=wait))

    def drain(
        self, name: str | None = None, *, lane: str | None = None, all: bool = False, wait: timedelta = PATIENCE
    ) -> Sequence[WorkerAnswer]:
        """Has them finish what they have begun, however long it takes, give back the rest, and leave."""
        return self._bridge.call(lambda client: client.workers.drain(name, lane=lane, all=all, wait=wait))

    def stop(
        self,
        name: str | None = None,
        *,
        lane: str | None = None,
        all: bool = False,
        now: bool = False,
        wait: timedelta = PATIENCE,
    ) -> Sequence[WorkerAnswer]:
        """Has them leave in order, as SIGTERM does: what runs may end within their grace."""
        return self._bridge.call(lambda client: client.workers.stop(name, lane=lane, all=all, now=now, wait=wait))
