"""The worker: one tenure after another, until it is told to stop."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from holdfast.core.errors import AccessDenied, ConfigurationError, WorkerFenced
from holdfast.core.mode import Duty
from holdfast.store import migrate, work
from holdfast.store.check import read_server
from holdfast.store.connect import connect, has_transaction_timeout, translated
from holdfast.store.session import Session
from holdfast.worker.companion import Companion
from holdfast.worker.roof import Roof
from holdfast.worker.seams import USUAL, Seams
from holdfast.worker.stop import Stop
from holdfast.worker.surroundings import Surroundings
from holdfast.worker.tenure import Tenure
from holdfast.workflow.activity import Activity
from holdfast.workflow.log_context import working_as
from holdfast.workflow.reference import Reference

if TYPE_CHECKING:
    from holdfast.core.definition import Definition
    from holdfast.core.seal import Seal
    from holdfast.core.settings import WorkerSettings
    from holdfast.store.statements import Statements

log = logging.getLogger("holdfast.worker")

Lifespan = Callable[[], AbstractAsyncContextManager[object]]


class Worker:
    """Executes the runs of its definitions in one lane, until it is stopped.

    ``async with worker:`` runs it in the background and stops it in order; ``await worker.run()`` runs it here. A
    worker that loses its lease drops what it has in memory and goes on under a new name. ``alone_command`` starts a
    process with the same definitions and settings and ``alone=True``, for runs that may be killing their workers.
    """

    def __init__(
        self,
        *,
        dsn: str,
        statements: Statements,
        seal: Seal,
        definitions: Mapping[str, Definition[..., Any]],
        settings: WorkerSettings,
        lifespans: Sequence[Lifespan] = (),
        alone_command: Sequence[str] | None = None,
        seams: Seams = USUAL,
        companion: Companion | None = None,
        surroundings: Surroundings | None = None,
        roof: Roof | None = None,
    ) -> None:
        executes = settings.does(Duty.EXECUTE)
        if not definitions and executes:
            raise ConfigurationError(
                "the app has neither workflows nor activities: a worker would have nothing to execute"
            )
        for definition in definitions.values():
            if isinstance(definition, Activity) and definition.isolation is not None:
                Reference.of(definition.fn, what=definition.what).check(definition.fn, what=definition.what)
        self._dsn = dsn
        self._statements = statements
        self._seal = seal
        self._definitions = dict(definitions)
        self._settings = settings
        self._lifespans = tuple(lifespans) if executes else ()
        self._alone_command = alone_command
        self._seams = seams
        self._companion = companion
        self._surroundings = Surroundings() if surroundings is None else surroundings
        self._roof = Roof([settings]) if roof is None else roof
        self._stop: Stop | None = None
        self._stops = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._tenure: Tenure | None = None
        self._ready = asyncio.Event()

    @property
    def name(self) -> str | None:
        """The name of its present identity; another one after it was fenced, None before it has begun."""
        return None if self._tenure is None else self._tenure.name

    @property
    def tenure(self) -> Tenure | None:
        """Its present identity; None before it has begun."""
        return self._tenure

    @property
    def failure(self) -> BaseException | None:
        """What it ended with, where it was in the background and has failed."""
        ended = self._task is not None and self._task.done() and not self._task.cancelled()
        return self._task.exception() if self._task is not None and ended else None

    async def run(self) -> None:
        """Works until ``stop()``; raises a DatabaseError or ConfigurationError where it cannot begin."""
        self._loop = asyncio.get_running_loop()
        self._stop = Stop()
        for _ in range(self._stops):
            self._stop.ask()
        # Later than we would ourselves, but before the lease is over: recovery shall find no locks of who is gone.
        ends_transactions = await self._roof.once(self._check)
        transaction_timeout = self._settings.lease * 0.75 if ends_transactions else None
        async with AsyncExitStack() as resources:
            for lifespan in self._lifespans:
                await resources.enter_async_context(lifespan())
            while not self._stop.asked.is_set():
                # Somebody has paused this worker, and not only the name that it had.
                paused = self._tenure is not None and self._tenure.paused
                before = None if self._tenure is None else self._tenure.survival
                self._tenure = Tenure(
                    dsn=self._dsn,
                    statements=self._statements,
                    seal=self._seal,
                    definitions=self._definitions,
                    settings=self._settings,
                    name=f"{self._settings.name}-{secrets.token_hex(4)[:7]}",
                    transaction_timeout=transaction_timeout,
                    alone_command=self._alone_command,
                    idle=self.stop,
                    seams=self._seams,
                    companion=self._companion,
                    surroundings=self._surroundings,
                    roof=self._roof,
                    paused=paused,
                    before=before,
                )
                with working_as(self._tenure.name):
                    await self._serve(self._tenure, self._stop)

    async def _serve(self, tenure: Tenure, stop: Stop) -> None:
        log.info("worker %s begins, lane %r, mode %s", tenure.name, self._settings.lane, self._settings.mode)
        self._ready.set()
        try:
            await tenure.run(stop)
        except* WorkerFenced as fenced:
            log.warning("%s; going on as a new worker", fenced.exceptions[0])
            if self._surroundings.herald.fenced:
                self._surroundings.herald.tell_fenced(str(fenced.exceptions[0]))

    def stop(self) -> None:
        """Begins the ordered shutdown; a second call cuts the grace short. May be called from any thread."""
        self._stops += 1
        loop, stop = self._loop, self._stop
        if loop is None or stop is None:
            return
        try:
            loop.call_soon_threadsafe(stop.ask)
        except RuntimeError:
            log.debug("the worker's loop is closed already")

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self.run(), name="holdfast worker")
        ready = asyncio.create_task(self._ready.wait())
        await asyncio.wait({self._task, ready}, return_when=asyncio.FIRST_COMPLETED)
        ready.cancel()
        if self._task.done():
            self._task.result()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # Leaving is no second call: what was told to stop before is waited for, with its grace.
        if not self._stops:
            self.stop()
        if self._task is not None:
            await self._task

    def _connections(self) -> int:
        """How many it opens; with transactional activities those of ``max_transactions`` too, and one for doubts."""
        for definition in self._definitions.values():
            if isinstance(definition, Activity) and definition.transactional is not None:
                return self._roof.connections + self._roof.workers * (self._settings.max_transactions + 1)
        return self._roof.connections

    async def _check(self) -> bool:
        """Before anything has an effect: is there a database, the right schema, and room for our connections?

        Gives whether the server can end a transaction of ours by itself after a while.
        """
        connection = await connect(self._dsn, application="holdfast worker check")
        try:
            async with translated(self._dsn):
                session = Session(connection, self._statements)
                migrate.verify(await migrate.read_applied(session), self._statements.schema)
                server = await read_server(session)
                free, most = await work.free_connections(session)
            if server.standby or server.read_only:
                raise AccessDenied(
                    f"a worker has to write, and database {server.database!r} is read-only: "
                    + (
                        "this is a standby; connect to the primary"
                        if server.standby
                        else f"default_transaction_read_only is on for user {server.role!r} there; turn it off"
                    )
                )
            # The one that asks is free again in a moment.
            needed = self._connections()
            if free + 1 < needed:
                raise ConfigurationError(
                    f"a worker needs up to {needed} connections and the server has {max(free + 1, 0)} left of "
                    f"max_connections = {most}: raise max_connections, start fewer workers or close other clients"
                )
            return has_transaction_timeout(connection)
        finally:
            await connection.close()
