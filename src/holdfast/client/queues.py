"""The queues of one client, by their names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar, overload

from holdfast.client.options import queue_mistakes
from holdfast.client.queue import Queue
from holdfast.client.queue_view import QueueMetrics, metrics_of
from holdfast.core.errors import InvalidInput
from holdfast.core.queue import lane_of
from holdfast.core.returns import Returns
from holdfast.store.lines import measure

if TYPE_CHECKING:
    from holdfast.client.context import Context
    from holdfast.client.launch import Launch
    from holdfast.client.lines import Lines

T = TypeVar("T")


class Queues:
    """Gives queues by their names: ``client.queue("emails")``; ``client.queue("emails", Email)`` has typed bodies."""

    def __init__(self, context: Context, launch: Launch, lines: Lines) -> None:
        self._context = context
        self._launch = launch
        self._lines = lines

    @overload
    def __call__(self, name: str, body: type[T], /) -> Queue[T]: ...
    @overload
    def __call__(self, name: str, body: None = None, /) -> Queue[Any]: ...
    def __call__(self, name: str, body: Any = None, /) -> Queue[Any]:
        """The queue of this name; nothing is looked up or made.

        Args:
            name: 1 to 200 characters without blanks.
            body: The type of what its messages say: checked when they are sent and read; without it plain JSON.

        Raises:
            InvalidInput: the name cannot be used.
            DefinitionError: the type cannot be stored.
        """
        for mistake in queue_mistakes(name):
            raise InvalidInput(mistake)
        returns: Returns[Any] = Returns(
            Any if body is None else body, what=f"a message of queue {name!r}", misfit=InvalidInput
        )
        return Queue(self._context, self._launch, self._lines.exchange(lane_of(name)), name, returns)

    async def list(self) -> Sequence[QueueMetrics]:
        """How every queue stands that has messages or consumers, is paused or was configured, by their names."""
        return [metrics_of(row) for row in await self._context.database.call(lambda session: measure(session, None))]
