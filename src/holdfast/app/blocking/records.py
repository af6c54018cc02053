"""The verbs of records, blocking. Written by `./dev write` from holdfast.client.records: change it there."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import TYPE_CHECKING

from holdfast.core.settings import KEEP_KEYS

if TYPE_CHECKING:
    from holdfast.app.blocking.bridge import Bridge
    from holdfast.client.client import Client
    from holdfast.core.states import RunStatus


class BlockingRecords:
    """What is recorded of runs that have ended: ``client.records``, for code that is not async.

    Every verb of :class:`Records`, with the same parameters, which waits and gives the result.
    """

    def __init__(self, bridge: Bridge[Client]) -> None:
        self._bridge = bridge

    def prune(
        self,
        older_than: timedelta,
        *,
        status: RunStatus | str | Iterable[RunStatus | str] | None = None,
        keep_keys: timedelta = KEEP_KEYS,
        dry_run: bool = False,
    ) -> int:
        """Removes all that is recorded of runs that ended longer ago than this; gives how many, in batches."""
        return self._bridge.call(
            lambda client: client.records.prune(older_than, status=status, keep_keys=keep_keys, dry_run=dry_run)
        )
