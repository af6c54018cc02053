"""The queues of one client: they share its connections, its ear, and one look-out for all who wait for messages."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, overload

from holdfast.client.exchange import Exchange
from holdfast.client.lookout import Lookout
from holdfast.client.options import queue_mistakes
from holdfast.client.queue import Queue
from holdfast.client.queue_view import QueueMetrics, metrics_of
from holdfast.core.errors import HoldfastError, InvalidInput
from holdfast.core.queue import lane_of
from holdfast.core.returns import Returns
from holdfast.store.lines import measure
from holdfast.store.queues import read_due

if TYPE_CHECKING:
    from holdfast.client.context import Context
    from holdfast.client.ear import Ear
    from holdfast.client.launch import Launch
    from holdfast.store.session import Session

T = TypeVar("T")


class Queues:
    """Gives queues by their names: ``client.queue("emails")``; ``client.queue("emails", Email)`` has typed bodies."""

    def __init__(self, context: Context, launch: Launch, ear: Ear) -> None:
        self._context = context
        self._launch = launch
        self._exchanges: dict[str, Exchange] = {}
        self._lookout = Lookout(context.database, ear, self, name="queues")
        ear.attach(heard=self._hear, opened=self._lookout.stir)

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
        lane = lane_of(name)
        exchange = self._exchanges.get(lane)
        if exchange is None:
            exchange = self._exchanges[lane] = Exchange(
                lane, self._context.database, self._context.hinter, rests=self._lookout.begin
            )
        returns: Returns[Any] = Returns(
            Any if body is None else body, what=f"a message of queue {name!r}", misfit=InvalidInput
        )
        return Queue(self._context, self._launch, exchange, name, returns)

    async def list(self) -> Sequence[QueueMetrics]:
        """How every queue stands that has messages or consumers, is paused or was configured, by their names."""
        return [metrics_of(row) for row in await self._context.database.call(lambda session: measure(session, None))]

    async def close(self) -> None:
        """Settles what is to be settled, and ends every wait with an error."""
        await self._lookout.close()
        await asyncio.gather(*(exchange.close() for exchange in self._exchanges.values()))

    # ---- what the look-out asks

    @property
    def open(self) -> int:
        """How many wait for messages."""
        return sum(exchange.waiting for exchange in self._exchanges.values())

    async def look_at_all(self, session: Session) -> bool:
        """One look at all queues that somebody waits for; the rest is done by their exchanges."""
        lanes = [lane for lane, exchange in self._exchanges.items() if exchange.waiting]
        for lane, due_in in (await read_due(session, lanes)).items():
            if due_in <= 0.0:
                self._exchanges[lane].stir()
            else:
                self._exchanges[lane].stir_in(due_in)
        return False

    def give_up(self, error: Callable[[], HoldfastError], cause: Exception | None) -> None:
        """Ends every wait with an error, one each."""
        for exchange in self._exchanges.values():
            exchange.give_up(error, cause)

    def _hear(self, payload: str) -> None:
        word, _, lane = payload.partition(" ")
        if word == "due" and lane in self._exchanges:
            self._exchanges[lane].stir()
