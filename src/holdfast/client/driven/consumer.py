"""Consumers: they take runs of one workflow, keep them in hand while they are driven, and give back what is left."""

from __future__ import annotations

import asyncio
import logging
import secrets
import socket
from contextlib import suppress
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Self
from uuid import UUID

from holdfast.client.driven.hands import Hands
from holdfast.client.driven.mistakes import batch_mistakes, refuse, span_mistakes
from holdfast.client.driven.run import DrivenRun
from holdfast.client.handle import run_id_of
from holdfast.core.errors import HoldfastError, InvalidInput, RunEnded, UnknownWorkflow
from holdfast.store import driven as store

if TYPE_CHECKING:
    from holdfast.client.context import Context
    from holdfast.client.driven.bell import Bells
    from holdfast.store.driven import Taken
    from holdfast.store.session import Session

log = logging.getLogger("holdfast.client")

_POLL = timedelta(seconds=1)
"""How often who waits looks, and how far ahead."""
_PATIENCE = 10.0
"""Seconds for which a consumer that closes tries to give back what it has."""


class DrivenConsumer:
    """Takes runs of one workflow that is driven by hand; as a context, on the event loop of its client.

    When it closes it gives back what it still has in hand, so that others need not wait. One that dies leaves its runs
    to whoever looks when their visibility has passed.
    """

    def __init__(
        self, context: Context, bells: Bells, *, workflow: str, name: str | None, lane: str, visibility: timedelta
    ) -> None:
        self._context = context
        self._bells = bells
        self._hands: Hands | None = None
        self._strays: set[asyncio.Task[None]] = set()
        self.workflow = workflow
        self.lane = lane
        self.visibility = visibility
        self.name = f"{name or socket.gethostname()}-{secrets.token_hex(4)[:7]}"
        """As it is shown where somebody looks who has a run."""

    async def __aenter__(self) -> Self:
        found = await self._context.database.call(lambda session: store.read_workflows(session, self.workflow))
        if not found:
            raise UnknownWorkflow(self.workflow)
        self._hands = Hands(self._context, visibility=self.visibility)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def runs(self) -> list[DrivenRun]:
        """What it has in hand."""
        return [] if self._hands is None else self._hands.runs

    async def dequeue(self, *, batch_size: int = 1, wait: timedelta = timedelta(0)) -> list[DrivenRun]:
        """At most ``batch_size`` runs that are due, as soon as there is one; none if none has come within ``wait``.

        They come by priority, and in the order in which they became due. A caller that is cancelled has none: what was
        taken for it is given back.

        Raises:
            InvalidInput: an option cannot be used.
        """
        hands = self._hands
        if hands is None:
            raise HoldfastError("this consumer is closed: use it inside `async with client.driven.consumer(...)`")
        refuse(f"{self.name} cannot dequeue", batch_mistakes(batch_size), span_mistakes("wait", wait))
        if not wait:
            runs, _ = await self._take(hands, batch_size)
            return runs
        loop = asyncio.get_running_loop()
        until = loop.time() + wait.total_seconds()
        with self._bells.bell(f"{self.lane} driven {self.workflow}") as bell:
            while True:
                bell.clear()
                runs, next_in = await self._take(hands, batch_size)
                left = until - loop.time()
                if runs or left <= 0:
                    return runs
                pause = min(left, (_POLL if next_in is None else min(next_in, _POLL)).total_seconds())
                with suppress(TimeoutError):
                    async with asyncio.timeout(max(pause, 0.001)):
                        await bell.wait()

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
        if hands is None:
            return
        try:
            async with asyncio.timeout(_PATIENCE):
                if self._strays:
                    await asyncio.wait(self._strays)
                for run in hands.runs:
                    await _give_back(run)
        except TimeoutError:
            log.warning("%s could not give back all of its runs: they come back when their visibility has passed", self)
        finally:
            await hands.close()

    async def _take(self, hands: Hands, limit: int) -> tuple[list[DrivenRun], timedelta | None]:
        async def take(session: Session) -> tuple[list[Taken], timedelta | None]:
            return await store.take(
                session,
                self.workflow,
                lane=self.lane,
                consumer=self.name,
                limit=limit,
                visibility=self.visibility,
                ahead=_POLL,
            )

        async def work() -> tuple[list[DrivenRun], timedelta | None]:
            taken, next_in = await self._context.database.call(take)
            runs = [DrivenRun(hands, one, workflow=self.workflow, lane=self.lane) for one in taken]
            for run in runs:
                hands.take(run)
            return runs, next_in

        # Not cancelled half-way: what the database has given is given back by its receipt.
        taking = asyncio.get_running_loop().create_task(work(), name="holdfast dequeue")
        try:
            return await asyncio.shield(taking)
        except asyncio.CancelledError:
            stray = asyncio.get_running_loop().create_task(_give_back_taken(taking), name="holdfast strays")
            self._strays.add(stray)
            stray.add_done_callback(self._strays.discard)
            raise

    def __repr__(self) -> str:
        return f"<consumer {self.name} of {self.workflow!r}>"


async def _give_back_taken(taking: asyncio.Task[tuple[list[DrivenRun], timedelta | None]]) -> None:
    with suppress(HoldfastError):
        for run in (await taking)[0]:
            await _give_back(run)


async def _give_back(run: DrivenRun) -> None:
    try:
        await run.release()
    except RunEnded:
        pass
    except HoldfastError as error:
        log.debug("run %s was not given back: %s", run.id, error)
