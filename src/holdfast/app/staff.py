"""The workers of an app in one process: one for each lane, opened together and stopped together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from holdfast.app.hosted import HostedWorker
from holdfast.app.worker_settings import Source, read_worker_settings
from holdfast.core.errors import ConfigurationError
from holdfast.worker import Roof
from holdfast.worker.surroundings import Surroundings

if TYPE_CHECKING:
    from holdfast.app.resource import Resource
    from holdfast.app.settings import AppSettings
    from holdfast.client.terms import Terms
    from holdfast.core.definition import Definition
    from holdfast.core.listeners import Listeners
    from holdfast.core.seal import Codec
    from holdfast.worker.seams import Seams
    from holdfast.workflow.middleware import Middleware

AloneCommand = Callable[[str], Sequence[str]]
"""From a lane, the command that starts a process for its suspects."""


class HostedWorkers:
    """Workers of one app for several lanes; made by :meth:`App.workers`. If one fails, the others are stopped."""

    def __init__(self, workers: Sequence[HostedWorker]) -> None:
        self._workers = tuple(workers)
        self._stack = AsyncExitStack()

    def __iter__(self) -> Iterator[HostedWorker]:
        return iter(self._workers)

    def __len__(self) -> int:
        return len(self._workers)

    async def run(self) -> None:
        """Works until :meth:`stop` is called, and each has given back what it held.

        Raises:
            ConfigurationError: the settings cannot work.
            DatabaseError: the database cannot be reached at the start, or its schema cannot be used.
        """
        failures: list[Exception] = []

        async def keep(worker: HostedWorker) -> None:
            try:
                await worker.run()
            except Exception as error:
                failures.append(error)
                self.stop()

        async with asyncio.TaskGroup() as group:
            for worker in self._workers:
                group.create_task(keep(worker), name=f"holdfast lane {worker.settings.lane}")
        if len({str(failure) for failure in failures}) > 1:
            raise ExceptionGroup("workers have failed", failures)
        if failures:
            raise failures[0]

    def stop(self) -> None:
        """Begins the ordered end of all; a second call cuts the grace short. May be called from any thread."""
        for worker in self._workers:
            worker.stop()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            for worker in self._workers:
                await stack.enter_async_context(worker)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # All at once, and not one after the other's grace.
        for worker in self._workers:
            if not worker.told_to_stop:
                worker.stop()
        await self._stack.__aexit__(kind, error, trace)


@dataclass(frozen=True, slots=True, kw_only=True)
class Staff:
    """What all workers of an app share."""

    settings: Callable[[], AppSettings]
    codec: Codec | None
    definitions: Mapping[str, Definition[..., Any]]
    resources: Sequence[Resource[Any]]
    schedules: Mapping[str, Terms]
    middleware: Sequence[Middleware]
    listeners: Listeners
    seams: Seams

    def one(self, given: Source, alone_command: Sequence[str] | None) -> HostedWorker:
        """A worker for the one lane that is given or configured.

        Raises:
            ConfigurationError: a setting cannot work; with all mistakes in those of the app too.
        """
        workers = self._hire([given], None if alone_command is None else lambda _: alone_command)
        if len(workers) > 1:
            lanes = ", ".join(repr(one.settings.lane) for one in workers)
            raise ConfigurationError(
                f"lane ({workers[0].origins['lane']}): {lanes} are several, and this is one worker; say which with "
                "lane=, or open app.workers()"
            )
        return workers[0]

    def all(self, given: Sequence[Source], alone_command: AloneCommand | None) -> HostedWorkers:
        """A worker for each lane that is given or configured.

        Raises:
            ConfigurationError: a setting cannot work; with all mistakes in those of the app too.
        """
        return HostedWorkers(self._hire(given, alone_command))

    def _hire(self, given: Sequence[Source], alone_command: AloneCommand | None) -> list[HostedWorker]:
        try:
            configured = read_worker_settings(*given, only_given=not self.seams.sources)
        except ConfigurationError as error:
            raise ConfigurationError(*dict.fromkeys((*self._mistakes_of_the_app(), *error.mistakes))) from None
        roof = Roof([one.settings for one in configured])
        return [
            HostedWorker(
                settings=self.settings,
                codec=self.codec,
                definitions=self.definitions,
                resources=self.resources,
                configured=one,
                schedules=self.schedules,
                surroundings=Surroundings(self.middleware, self.listeners.for_worker()),
                alone_command=None if alone_command is None else alone_command(one.settings.lane),
                seams=self.seams,
                roof=roof,
            )
            for one in configured
        ]

    def _mistakes_of_the_app(self) -> Sequence[str]:
        try:
            self.settings()
        except ConfigurationError as error:
            return error.mistakes
        return ()
