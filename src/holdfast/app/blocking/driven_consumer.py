"""The verbs of a consumer, blocking. Written by `./dev write` from holdfast.client.driven.consumer: change it there."""

from __future__ import annotations

from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Self
from uuid import UUID

from holdfast.app.blocking.driven_run import BlockingDrivenRun

if TYPE_CHECKING:
    from holdfast.app.blocking.bridge import Bridge
    from holdfast.client.client import Client
    from holdfast.client.driven.consumer import DrivenConsumer
    from holdfast.core.queue import ConsumerState


class BlockingDrivenConsumer:
    """Takes runs of one workflow that is driven by hand, for code that is not async; as a context.

    Every verb of :class:`DrivenConsumer`, with the same parameters, which waits and gives the result. Its heartbeats go
    on in a thread of their own while the caller works.
    """

    __slots__ = ("_bridge", "_consumer", "lane", "name", "visibility", "workflow")

    def __init__(self, bridge: Bridge[Client], consumer: DrivenConsumer) -> None:
        self._bridge = bridge
        self._consumer = consumer
        self.workflow = consumer.workflow
        self.lane = consumer.lane
        self.visibility = consumer.visibility
        self.name = consumer.name

    def __enter__(self) -> Self:
        self._bridge.call(lambda _: self._consumer.__aenter__())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def runs(self) -> list[BlockingDrivenRun]:
        """What it has in hand."""
        return [BlockingDrivenRun(self._bridge, run) for run in self._consumer.runs]

    @property
    def state(self) -> ConsumerState:
        """What it is doing."""
        return self._consumer.state

    @property
    def stopped(self) -> bool:
        """Whether it was told to stop or drain: it takes nothing any more, and is to be closed."""
        return self._consumer.stopped

    def dequeue(self, *, batch_size: int = 1, wait: timedelta = timedelta(0)) -> list[BlockingDrivenRun]:
        """At most ``batch_size`` runs that are due, as soon as there is one; none if none has come within ``wait``."""
        return [
            BlockingDrivenRun(self._bridge, one)
            for one in self._bridge.call(lambda _: self._consumer.dequeue(batch_size=batch_size, wait=wait))
        ]

    def archive(self, run: BlockingDrivenRun | UUID | str, /) -> bool:
        """Puts a run aside that is dealt with: one that was completed or failed is so already, and gives False."""
        if isinstance(run, BlockingDrivenRun):
            return run.archive()
        return self._bridge.call(lambda _: self._consumer.archive(run))

    def close(self) -> None:
        """Gives back what it has in hand; if the database is away, that comes back when its visibility has passed."""
        self._bridge.call(lambda _: self._consumer.close())
