"""The verbs of limits, blocking. Written by `./dev write` from holdfast.client.limits: change it there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from holdfast.app.blocking.bridge import Bridge
    from holdfast.client.client import Client
    from holdfast.client.limits import LimitSummary


class BlockingLimits:
    """The limits and rates that are in use, in all workers together: ``client.limits``, for code that is not async.

    Every verb of :class:`Limits`, with the same parameters, which waits and gives the result.
    """

    def __init__(self, bridge: Bridge[Client]) -> None:
        self._bridge = bridge

    def list(self, *, name: str | None = None, limit: int = 100) -> Sequence[LimitSummary]:
        """The limits of which something is taken, or was a moment ago, or for which somebody waits."""
        return self._bridge.call(lambda client: client.limits.list(name=name, limit=limit))
