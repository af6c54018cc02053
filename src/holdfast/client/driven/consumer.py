"""Consumers: they take runs of one workflow, keep them in hand while they are driven, and give back what is left."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Self
from uuid import UUID

from holdfast.client.attendance import TICK, Attendance
from holdfast.client.driven.hands import Hands
from holdfast.client.driven.mistakes import batch_mistakes, refuse, span_mistakes
from holdfast.client.driven.run import DrivenRun
from holdfast.client.handle import run_id_of
from holdfast.core.errors import HoldfastError, InvalidInput, RunEnded, UnknownWorkflow
from holdfast.core.queue import ConsumerState
from holdfast.store import driven as store

if TYPE_CHECKING:
    from holdfast.client.context import Context
    from holdfast.client.exchange import Delivery, Exchange

log = logging.getLogger("holdfast.client")

_PATIENCE = 10.0
"""Seconds for which a consumer that closes tries to give back what it has."""


class DrivenConsumer:
    """Takes runs of one workflow that is driven by hand; as a context, on the event loop of its client.

    It is registered among the workers for as long as it is open. When it closes it gives back what it still has in
    hand, so that others need not wait. One that dies leaves its runs to whoever looks when their visibility has passed.
    """

    def __init__(
        self, context: Context, exchange: Exchange, *, workflow: str, name: str | None, lane: str, visibility: timedelta
    ) -> None:
        self._context = context
        self._exchange = exchange
        self._attendance = Attendance(context.database, exchange.lane, name)
        self._attending: asyncio.Task[None] | None = None
        self._hands: Hands | None = None
        self._waiting = 0
        self._free = asyncio.Event()
        self._free.set()
        self._halted = asyncio.Event()
        self._stopped = False
        self.workflow = workflow
        self.lane = lane
        self.visibility = visibility

    async def __aenter__(self) -> Self:
        found = await self._context.database.call(lambda session: store.read_workflows(session, self.workflow))
        if not found:
            raise UnknownWorkflow(self.workflow)
        await self._attendance.begin()
        self._halted.clear()
        self._hands = Hands(self._context, visibility=self.visibility)
        self._attending = asyncio.create_task(self._attend(self._hands), name=f"holdfast consumer {self.name}")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def name(self) -> str:
        """Its name among the workers, as it is also shown where somebody looks who has a run; new for each consumer."""
        return self._attendance.name

    @property
    def runs(self) -> list[DrivenRun]:
        """What it has in hand."""
        return [] if self._hands is None else self._hands.runs

    @property
    def state(self) -> ConsumerState:
        """What it is doing."""
        if self._hands is None:
            return ConsumerState.STOPPED
        if not self._free.is_set():
            return ConsumerState.SUSPENDED
        return ConsumerState.POLLING if self._waiting else ConsumerState.READY

    @property
    def stopped(self) -> bool:
        """Whether it was told to stop or drain, as a worker is: it takes nothing any more, and is to be closed."""
        return self._stopped

    async def dequeue(self, *, batch_size: int = 1, wait: timedelta = timedelta(0)) -> list[DrivenRun]:
        """At most ``batch_size`` runs that are due, as soon as there is one; none if none has come within ``wait``.

        They come by priority, and in the order in which they became due. A caller that is cancelled has none: what was
        taken for it is given back. While the consumer is told to pause, none come.

        Raises:
            InvalidInput: an option cannot be used.
        """
        hands = self._open_hands()
        refuse(f"{self.name} cannot dequeue", batch_mistakes(batch_size), span_mistakes("wait", wait))
        loop = asyncio.get_running_loop()
        until = loop.time() + wait.total_seconds()
        with suppress(TimeoutError):
            async with asyncio.timeout_at(until):
                await self._free.wait()
        if not self._free.is_set():
            return []
        self._waiting += 1
        try:
            deliveries = await self._receive(batch_size, timedelta(seconds=max(0.0, until - loop.time())))
        finally:
            self._waiting -= 1
        if self._hands is not hands:
            # Closed meanwhile.
            self._exchange.give_back(deliveries)
            self._open_hands()
        runs = [DrivenRun(hands, one.taken, workflow=self.workflow, lane=self.lane) for one in deliveries]
        for run in runs:
            hands.take(run)
        return runs

    async def archive(self, run: DrivenRun | UUID | str, /) -> bool:
        """Puts a run aside that is dealt with: one that was completed or failed is so already, and gives False.

        One that is still in hand ends as succeeded, without a result.

        Raises:
            InvalidInput: it is none that this consumer has in hand.
            ReceiptLost, RunEnded: it is not in these hands any more.
        """
        if isinstance(run, DrivenRun):
            return await run.archive()
        run_id = run_id_of(run)
        for one in self.runs:
            if one.id == run_id:
                return await one.archive()
        raise InvalidInput(f"run {run_id} is not in the hands of {self.name}")

    async def close(self) -> None:
        """Gives back what it has in hand; if the database is away, that comes back when its visibility has passed."""
        hands, self._hands = self._hands, None
        attending, self._attending = self._attending, None
        if hands is None or attending is None:
            return
        self._halted.set()
        try:
            async with asyncio.timeout(_PATIENCE):
                for run in hands.runs:
                    await _give_back(run)
        except TimeoutError:
            log.warning("%s could not give back all of its runs: they come back when their visibility has passed", self)
        finally:
            attending.cancel()
            await asyncio.wait([attending])
            await hands.close()
            await self._attendance.end(hands.handled)

    def _open_hands(self) -> Hands:
        if self._hands is None:
            raise HoldfastError("this consumer is closed: use it inside `async with client.driven.consumer(...)`")
        return self._hands

    async def _receive(self, count: int, wait: timedelta) -> list[Delivery]:
        """What comes within that time, unless it is told to pause or to stop."""
        receiving = asyncio.ensure_future(self._exchange.receive(count, self.visibility, wait, hands=self.name))
        halted = asyncio.ensure_future(self._halted.wait())
        try:
            await asyncio.wait([receiving, halted], return_when=asyncio.FIRST_COMPLETED)
            if not receiving.done():
                receiving.cancel()
                await asyncio.wait([receiving])
            return [] if receiving.cancelled() else receiving.result()
        except asyncio.CancelledError:
            receiving.cancel()
            await asyncio.wait([receiving])
            if not receiving.cancelled() and receiving.exception() is None:
                self._exchange.give_back(receiving.result())
            raise
        finally:
            halted.cancel()

    async def _attend(self, hands: Hands) -> None:
        """Says that it is there, and does what it is told."""
        tick = min(self.visibility.total_seconds() / 3, TICK)
        while True:
            await asyncio.sleep(tick)
            try:
                await self._attendance.keep(self.state, lambda: len(hands.runs), hands.handled)
            except HoldfastError as error:
                log.warning("consumer %s: a heartbeat has failed: %s", self.name, error)
            except Exception:
                log.exception("consumer %s: a heartbeat has failed", self.name)
            self._obey(self._attendance.command)

    def _obey(self, command: str | None) -> None:
        self._stopped = self._stopped or command in ("drain", "stop", "stop now")
        if self._stopped or command == "pause":
            self._free.clear()
            self._halted.set()
        else:
            self._halted.clear()
            self._free.set()

    def __repr__(self) -> str:
        return f"<consumer {self.name} of {self.workflow!r}>"


async def _give_back(run: DrivenRun) -> None:
    try:
        await run.release()
    except RunEnded:
        pass
    except HoldfastError as error:
        log.debug("run %s was not given back: %s", run.id, error)
