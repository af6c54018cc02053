"""A worker together with what it stands on: the app's settings, its database, its resources."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import timedelta
from types import TracebackType
from typing import Any, Self, TypedDict, TypeVar

from holdfast.app.database import Database, open_database
from holdfast.app.resource import Resource
from holdfast.app.settings import AppSettings
from holdfast.app.worker_settings import Configured
from holdfast.client.terms import Terms
from holdfast.core.definition import Definition
from holdfast.core.events import Event
from holdfast.core.mode import Duty, ModeName
from holdfast.core.seal import Codec, Seal
from holdfast.upkeep import CodeSchedule, Days, Retention, Scheduler
from holdfast.worker import Companion, Roof, Worker
from holdfast.worker.seams import USUAL, Seams
from holdfast.worker.surroundings import Surroundings

E = TypeVar("E", bound=Event)


class WorkerOptions(TypedDict, total=False):
    """The fields of :class:`WorkerSettings`; what is left out comes from the other sources, or is the default there."""

    name: str
    lane: str
    mode: ModeName
    transfer_batch_size: int
    parallelism_factor: float
    buckets: Mapping[str, int]
    bucket_buffer_size: int
    bucket_buffer_lead_time: timedelta
    skip_warm_up: bool
    max_activities: int
    max_threads: int
    max_processes: int
    max_transactions: int
    lease: timedelta
    poll: timedelta
    grace: timedelta
    cached_runs: int
    journal_warn_rows: int
    journal_warn_bytes: int
    journal_max_rows: int
    journal_max_bytes: int
    hints: bool
    keep: Mapping[str, timedelta]
    keep_keys: timedelta
    alone: bool


class HostedWorker:
    """A worker of one app; made by :meth:`App.worker`. It opens the database when it starts, and can start once."""

    def __init__(
        self,
        *,
        settings: Callable[[], AppSettings],
        codec: Codec | None,
        definitions: Mapping[str, Definition[..., Any]],
        resources: Sequence[Resource[Any]],
        configured: Configured,
        schedules: Mapping[str, Terms],
        surroundings: Surroundings,
        alone_command: Sequence[str] | None = None,
        seams: Seams = USUAL,
        roof: Roof | None = None,
    ) -> None:
        self.settings = configured.settings
        self.origins = configured.origins
        """Where each of the settings came from, in words."""
        self._app_settings = settings
        self._codec = codec
        self._definitions = definitions
        self._resources = resources
        self._schedules = schedules
        self._surroundings = surroundings
        self._alone_command = alone_command
        self._seams = seams
        self._roof = Roof([configured.settings]) if roof is None else roof
        # Guards the two below: `stop` may be called from any thread, also before the worker has been made.
        self._guard = threading.Lock()
        self._worker: Worker | None = None
        self._scheduler: Scheduler | None = None
        self._stops = 0
        self._stack = AsyncExitStack()

    @property
    def worker(self) -> Worker | None:
        """The worker itself; None before it has been opened."""
        return self._worker

    @property
    def told_to_stop(self) -> bool:
        """Whether :meth:`stop` has been called."""
        return self._stops > 0

    @property
    def scheduler(self) -> Scheduler | None:
        """What sees to schedules beside it; None before it has been opened, and where nothing does."""
        return self._scheduler

    def on(self, event: type[E], listener: Callable[[E], None]) -> None:
        """As ``App.on``, for what happens in this worker."""
        self._surroundings.listeners.on(event, listener)

    async def run(self) -> None:
        """Works until :meth:`stop` is called, then returns when everything has been given back.

        Raises:
            ConfigurationError: the settings cannot work.
            DatabaseError: the database cannot be reached at the start, or its schema cannot be used.
        """
        async with AsyncExitStack() as stack:
            worker = await self._open(stack)
            await worker.run()

    def stop(self) -> None:
        """Begins the ordered end; a second call cuts the grace short. May be called from any thread."""
        with self._guard:
            self._stops += 1
            if self._scheduler is not None:
                self._scheduler.stop()
            if self._worker is not None:
                self._worker.stop()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(await self._open(stack))
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._scheduler is not None:
            self._scheduler.stop()
        await self._stack.__aexit__(kind, error, trace)

    async def _open(self, stack: AsyncExitStack) -> Worker:
        settings = self._app_settings()
        async with self._roof.opening():
            database = await stack.enter_async_context(open_database(settings))
        seal = Seal(self._codec, settings.payload_limit.value)
        beside = self._seams.companions and not self.settings.alone
        scheduler = self._make_scheduler(database, seal) if beside else None
        companion: Companion | None = None
        if scheduler is not None and self.settings.does(Duty.SCAN):
            await stack.enter_async_context(scheduler)
            companion = Companion(schedules=scheduler.carried, registered=scheduler.begin, heard=scheduler.heard)
        elif scheduler is not None:
            # It has their code, so they are not out of use; others see to them.
            companion = Companion(schedules=scheduler.carried, registered=_nothing, heard=_nothing)
            scheduler = None
        if beside and self.settings.keep and self.settings.does(Duty.SCAN):
            await stack.enter_async_context(self._make_retention(database))
        if beside and self.settings.does(Duty.SCAN):
            await stack.enter_async_context(self._make_days(database))
        worker = Worker(
            dsn=database.dsn,
            statements=database.statements,
            seal=seal,
            definitions=self._definitions,
            settings=self.settings,
            lifespans=tuple(resource.open for resource in self._resources),
            alone_command=self._alone_command,
            seams=self._seams,
            surroundings=self._surroundings,
            companion=companion,
            roof=self._roof,
        )
        with self._guard:
            self._worker = worker
            self._scheduler = scheduler
            if scheduler is not None and self._stops:
                scheduler.stop()
            for _ in range(self._stops):
                worker.stop()
        return worker

    def _make_retention(self, database: Database) -> Retention:
        return Retention(
            dsn=database.dsn,
            statements=database.statements,
            keep=self.settings.keep,
            keep_keys=self.settings.keep_keys,
            application=f"holdfast retention {self.settings.name}",
        )

    def _make_days(self, database: Database) -> Days:
        return Days(
            dsn=database.dsn,
            statements=database.statements,
            application=f"holdfast days {self.settings.name}",
            turn=self._roof.days,
        )

    def _make_scheduler(self, database: Database, seal: Seal) -> Scheduler:
        return Scheduler(
            dsn=database.dsn,
            statements=database.statements,
            seal=seal,
            schedules={
                name: CodeSchedule(spec=terms.spec(seal), digest=terms.digest)
                for name, terms in self._schedules.items()
            },
            poll=self.settings.poll,
            hints=self.settings.hints,
            application=f"holdfast schedules {self.settings.name}",
            turn=self._roof.scheduling,
            outage=self._roof.outage,
        )


def _nothing(*_: object) -> None:
    """Nobody does anything about it here."""
