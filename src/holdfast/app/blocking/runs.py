"""The verbs of many runs, blocking. Written by `./dev write` from holdfast.client.selection: change it there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from holdfast.client.selection import LIMIT

if TYPE_CHECKING:
    from holdfast.app.blocking.bridge import Bridge
    from holdfast.client.client import Client
    from holdfast.client.selection import Runs, Tally
    from holdfast.core.export import RunExport
    from holdfast.core.priority import PriorityName


class BlockingRuns:
    """The runs that fit some filters: ``client.runs(...)``, for code that is not async.

    Every verb of :class:`Runs`, with the same parameters, which waits and gives the result.
    """

    def __init__(self, bridge: Bridge[Client], on: Callable[[Client], Runs]) -> None:
        self._bridge = bridge
        self._on = on

    def pause(self, *, at_once: bool = False, limit: int = LIMIT, dry_run: bool = False) -> Tally:
        """As ``RunHandle.pause``."""
        return self._bridge.call(lambda client: self._on(client).pause(at_once=at_once, limit=limit, dry_run=dry_run))

    def resume(self, *, limit: int = LIMIT, dry_run: bool = False) -> Tally:
        """As ``RunHandle.resume``."""
        return self._bridge.call(lambda client: self._on(client).resume(limit=limit, dry_run=dry_run))

    def wake(self, *, limit: int = LIMIT, dry_run: bool = False) -> Tally:
        """As ``RunHandle.wake``."""
        return self._bridge.call(lambda client: self._on(client).wake(limit=limit, dry_run=dry_run))

    def terminate(self, *, limit: int = LIMIT, dry_run: bool = False) -> Tally:
        """As ``RunHandle.terminate``."""
        return self._bridge.call(lambda client: self._on(client).terminate(limit=limit, dry_run=dry_run))

    def cancel(self, *, limit: int = LIMIT, dry_run: bool = False) -> Tally:
        """As ``RunHandle.cancel``."""
        return self._bridge.call(lambda client: self._on(client).cancel(limit=limit, dry_run=dry_run))

    def reschedule(
        self,
        *,
        at: datetime | None = None,
        after: timedelta | None = None,
        priority: PriorityName | None = None,
        lane: str | None = None,
        limit: int = LIMIT,
        dry_run: bool = False,
    ) -> Tally:
        """As ``RunHandle.reschedule``."""
        return self._bridge.call(
            lambda client: self._on(client).reschedule(
                at=at, after=after, priority=priority, lane=lane, limit=limit, dry_run=dry_run
            )
        )

    def tag(
        self,
        tags: Mapping[str, str] | None = None,
        *,
        remove: Iterable[str] = (),
        limit: int = LIMIT,
        dry_run: bool = False,
    ) -> Tally:
        """As ``RunHandle.tag``; runs that were retried or rewound before are left out."""
        return self._bridge.call(lambda client: self._on(client).tag(tags, remove=remove, limit=limit, dry_run=dry_run))

    def export(self, *, limit: int = LIMIT) -> list[RunExport]:
        """As ``RunHandle.export``, newest first; of each as it is in one moment."""
        return self._bridge.call(lambda client: self._on(client).export(limit=limit))

    def retry(self, *, timeout: timedelta | None = None, limit: int = LIMIT, dry_run: bool = False) -> Tally:
        """As ``RunHandle.retry``; runs that were retried or rewound before are left out."""
        return self._bridge.call(lambda client: self._on(client).retry(timeout=timeout, limit=limit, dry_run=dry_run))

    def rewind(self, to: str, *, timeout: timedelta | None = None, limit: int = LIMIT, dry_run: bool = False) -> Tally:
        """As ``RunHandle.rewind``; runs that were retried or rewound before are left out."""
        return self._bridge.call(
            lambda client: self._on(client).rewind(to, timeout=timeout, limit=limit, dry_run=dry_run)
        )

    def fork(
        self,
        from_: str | None = None,
        *,
        input: Mapping[str, object] | None = None,
        timeout: timedelta | None = None,
        limit: int = LIMIT,
        dry_run: bool = False,
    ) -> Tally:
        """As ``RunHandle.fork``; runs that were retried or rewound before are left out."""
        return self._bridge.call(
            lambda client: self._on(client).fork(from_, input=input, timeout=timeout, limit=limit, dry_run=dry_run)
        )
