"""Verbs of client.driven, blocking. Written by `./dev write` from holdfast.client.driven.workflows: change it there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from holdfast.app.blocking.driven_consumer import BlockingDrivenConsumer
from holdfast.app.blocking.handle import BlockingRunHandle, as_blocking
from holdfast.client.handle import run_id_of
from holdfast.integrations.catalogue import of_this_thread

if TYPE_CHECKING:
    from holdfast.app.blocking.bridge import Bridge
    from holdfast.client.client import Client
    from holdfast.client.driven.consumer import DrivenConsumer
    from holdfast.core.key import Key
    from holdfast.core.priority import PriorityName
    from holdfast.integrations.catalogue import BlockingConnection


class BlockingDriven:
    """Workflows whose runs are driven by hand: ``client.driven``, for code that is not async.

    Every verb of :class:`Driven`, with the same parameters, which waits and gives the result.
    """

    def __init__(self, bridge: Bridge[Client]) -> None:
        self._bridge = bridge

    def create_workflow(self, name: str, /) -> bool:
        """Makes a workflow of this name, once for all: False says that it was there already, and is just as good."""
        return self._bridge.call(lambda client: client.driven.create_workflow(name))

    def workflows(self) -> Sequence[str]:
        """The names of all of them."""
        return self._bridge.call(lambda client: client.driven.workflows())

    def trigger(
        self,
        name: str,
        input: Mapping[str, object] | None = None,
        /,
        *,
        key: str | Key | None = None,
        lane: str = "default",
        priority: PriorityName = "medium",
        at: datetime | None = None,
        after: timedelta | None = None,
        tags: Mapping[str, str] | None = None,
        timeout: timedelta | None = None,
        headers: Mapping[str, str] | None = None,
        connection: BlockingConnection | None = None,
    ) -> BlockingRunHandle[Any]:
        """Makes a run of the workflow, which stands in line until a consumer takes it; with the options of a start."""
        connection = of_this_thread(connection)
        return as_blocking(
            self._bridge,
            self._bridge.call(
                lambda client: client.driven.trigger(
                    name,
                    input,
                    key=key,
                    lane=lane,
                    priority=priority,
                    at=at,
                    after=after,
                    tags=tags,
                    timeout=timeout,
                    headers=headers,
                    connection=connection,
                )
            ),
        )

    def get(self, run_id: UUID | str, /) -> BlockingRunHandle[Any]:
        """A run by its id, from any process: its status, its result, and what can be done to it."""
        return BlockingRunHandle(self._bridge, run_id_of(run_id), None)

    def consumer(
        self,
        workflow: str,
        /,
        *,
        name: str | None = None,
        lane: str = "default",
        visibility: timedelta = timedelta(seconds=30),
    ) -> BlockingDrivenConsumer:
        """A consumer of the workflow's runs in this lane, to be opened as a context."""

        async def make(client: Client) -> DrivenConsumer:
            return client.driven.consumer(workflow, name=name, lane=lane, visibility=visibility)

        return BlockingDrivenConsumer(self._bridge, self._bridge.call(make))
