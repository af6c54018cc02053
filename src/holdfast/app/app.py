"""The app: what a project's definitions are registered with, and what opens clients and workers for them."""

from __future__ import annotations

import weakref
from collections.abc import (
    AsyncGenerator,
    Collection,
    Generator,
    Iterable,
    Mapping,
    Sequence,
)
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, Unpack

from holdfast.app.blocking import BlockingClient, Bridge
from holdfast.app.check import CheckReport, check_runs
from holdfast.app.database import open_database
from holdfast.app.definitions import Definitions
from holdfast.app.hosted import HostedWorker, WorkerOptions
from holdfast.app.metering import metered
from holdfast.app.settings import AppSettings, read_settings
from holdfast.app.sources import Found
from holdfast.app.staff import AloneCommand, HostedWorkers, Staff
from holdfast.app.worker_settings import Said, given_by
from holdfast.client import Client
from holdfast.client.parts import Parts
from holdfast.core.definition import Definition
from holdfast.core.export import RunExport
from holdfast.core.seal import Codec, Seal
from holdfast.embedded import EmbeddedSettings
from holdfast.lint import LintReport, lint
from holdfast.worker.seams import USUAL, Seams
from holdfast.workflow.middleware import Middleware

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from holdfast.telemetry.metrics import Exposition

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
D = TypeVar("D", bound=Definition[..., Any])


class App(Definitions):
    """A project's workflows and activities, and the database that they run on. Making one costs nothing.

    Where a setting is not given, it is looked for when a client or worker is opened: in the environment
    (``HOLDFAST_DATABASE_URL``, then ``DATABASE_URL``; ``HOLDFAST_SCHEMA``), in ``holdfast.toml`` (table ``holdfast``)
    or ``pyproject.toml`` (``tool.holdfast``), then in ``.env``. Without a database URL an embedded Postgres is used.

    Args:
        database_url: Which Postgres, or ``"embedded"``.
        schema: The schema of Holdfast's tables, so that several apps can share a database. Default: ``holdfast``.
        codec: Encrypts or compresses what is stored of inputs, outputs and signals.
        payload_limit: The largest of these, in bytes as stored. Default: 131072.
        auto_setup: Make or upgrade the schema when a client or worker is opened. Default: true.
        embedded: Settings of the embedded Postgres, for when it is used.
    """

    def __init__(
        self,
        database_url: str | None = None,
        *,
        schema: str | None = None,
        codec: Codec | None = None,
        payload_limit: int | None = None,
        auto_setup: bool | None = None,
        embedded: EmbeddedSettings | None = None,
    ) -> None:
        super().__init__()
        given = {
            "database_url": database_url,
            "schema": schema,
            "payload_limit": payload_limit,
            "auto_setup": auto_setup,
        }
        self._given = {
            name: Found(value=value, origin=f"App({name}=)", base=Path())
            for name, value in given.items()
            if value is not None
        }
        self._codec = codec
        self._embedded = embedded
        self._bridges: weakref.WeakSet[Bridge[Client]] = weakref.WeakSet()

    def check(self, runs: Iterable[RunExport], *, added: Collection[str] = ()) -> CheckReport:
        """Replays exported runs against the code at hand, as ``holdfast check`` does; nothing is executed or written.

        Args:
            runs: From ``client.export()``, ``client.sample()``, or ``RunExport.from_json()`` of a file.
            added: Activities that are new in the code, before steps that runs have recorded: a run whose code waits for
                one of them has nothing left over.
        """
        return check_runs(self.executables, runs, added=added)

    def lint(self) -> LintReport:
        """Reads the workflows for what would not come out the same on a replay, as ``holdfast lint`` does.

        Functions of the same package are followed, activities are not; nothing is called.
        """
        return lint(self.executables)

    def settings(self) -> AppSettings:
        """The settings as they are now, each with where it came from.

        Raises:
            ConfigurationError: with every mistake in them.
        """
        return read_settings(self._given, self._embedded)

    def override(
        self,
        *,
        origin: str,
        database_url: str | None = None,
        schema: str | None = None,
        auto_setup: bool | None = None,
    ) -> None:
        """Puts these before every other source, for tools that take them as options; ``origin`` says whose they are."""
        for name, value in {"database_url": database_url, "schema": schema, "auto_setup": auto_setup}.items():
            if value is not None:
                self._given[name] = Found(value=value, origin=origin, base=Path())

    @contextmanager
    def overridden(self, *, origin: str, database_url: str, auto_setup: bool) -> Generator[None]:
        """As ``override``, for as long as the block lasts: for tests, which take an app to another database."""
        before = dict(self._given)
        self.override(origin=origin, database_url=database_url, auto_setup=auto_setup)
        self._reset_bridges()
        try:
            yield
        finally:
            self._given = before
            self._reset_bridges()

    def _reset_bridges(self) -> None:
        """What blocking clients have open belongs to another database."""
        for bridge in list(self._bridges):
            bridge.reset()

    def seal(self) -> Seal:
        """What is done to payloads at the border to the database: its codec, and the payload limit as it is now."""
        return Seal(self._codec, self.settings().payload_limit.value)

    @asynccontextmanager
    async def client(
        self, *, pool_size: int = 4, hints: bool = True, application: str = "holdfast client"
    ) -> AsyncGenerator[Client]:
        """A client, for as long as the block lasts. It starts, signals, awaits and inspects runs, and executes none.

        Args:
            pool_size: How many connections it opens at most.
            hints: Whether it listens for what has ended; without, it looks now and then.
            application: Its name in ``pg_stat_activity``.

        Raises:
            ConfigurationError: the settings cannot work.
            DatabaseError: the database cannot be reached, or its schema cannot be used.
        """
        settings = self.settings()
        seal = Seal(self._codec, settings.payload_limit.value)
        async with (
            open_database(settings) as database,
            Client(
                Parts(
                    dsn=database.dsn,
                    statements=database.statements,
                    seal=seal,
                    definitions=self.definitions,
                    pool_size=pool_size,
                    hints=hints,
                    application=application,
                    middleware=[one for one in self._middleware if type(one).start is not Middleware.start],
                    listeners=self._listeners,
                )
            ) as client,
        ):
            yield client

    def metrics(
        self,
        *,
        port: int | None = None,
        host: str = "127.0.0.1",
        ports: int = 1,
        registry: CollectorRegistry | None = None,
        every: timedelta = timedelta(seconds=10),
    ) -> AbstractAsyncContextManager[Exposition]:
        """Metrics for Prometheus of this app's clients and workers in this process, for as long as the block lasts.

        Args:
            port: Where to serve them over HTTP; 0 takes a free one. Without, the program exposes ``registry`` itself.
            host: The address to listen on; nobody is asked who he is there.
            ports: So many ports from ``port`` on are tried, for several processes with one configuration.
            registry: Where they are registered; by default in one of their own.
            every: For so long a reading of the database's gauges is good; it is made when somebody asks for them.

        Raises:
            ConfigurationError: the extra ``prometheus`` is missing, or the port cannot be had.
        """
        return metered(
            self.settings(), self._listeners, port=port, host=host, ports=ports, registry=registry, every=every
        )

    def blocking_client(
        self, *, pool_size: int = 4, hints: bool = True, application: str = "holdfast client"
    ) -> BlockingClient:
        """A client for code that is not async: scripts, Django, Flask. One may serve all threads of a process.

        Making one costs nothing: it connects when it is first used, or at the beginning of its ``with`` block. The
        arguments are those of :meth:`client`, and so are the errors, when it connects.
        """
        opening = partial(self.client, pool_size=pool_size, hints=hints, application=application)
        bridge = Bridge(opening, what="blocking client")
        self._bridges.add(bridge)
        return BlockingClient(bridge)

    def worker(
        self,
        *,
        alone_command: Sequence[str] | None = None,
        seams: Seams = USUAL,
        **options: Unpack[WorkerOptions],
    ) -> HostedWorker:
        """A worker of everything that is registered: ``async with app.worker(): ...``, or ``await app.worker().run()``.

        What is not said here is looked for in ``HOLDFAST_WORKER_…``, in ``[holdfast.worker]`` of the project's file and
        in ``.env``. With ``alone_command``, which starts a process with such a worker and ``alone=True``, runs whose
        workers have died twice are executed there, so that they take no others along. ``seams`` are for tests: parts
        of the worker that they bring themselves.

        Raises:
            ConfigurationError: a setting cannot work; all mistakes at once, each with where it came from.
        """
        return self._staff(seams).one(given_by("app.worker", options), alone_command)

    def workers(
        self,
        *lanes: str,
        flags: Mapping[str, Said] | None = None,
        alone_command: AloneCommand | None = None,
        **options: Unpack[WorkerOptions],
    ) -> HostedWorkers:
        """Workers for several lanes in this process: ``async with app.workers("orders", "reports"): ...``.

        The other options are for each of them; what a lane has of its own stands in the project's file. Without lanes
        they are those that are configured. ``flags`` are for tools: what a command line says, before everything else.

        Raises:
            ConfigurationError: a setting cannot work; all mistakes at once, each with where it came from.
        """
        given = given_by("app.workers", {**options, "lane": list(lanes)} if lanes else options)
        return self._staff(USUAL).all([flags or {}, given], alone_command)

    def _staff(self, seams: Seams) -> Staff:
        return Staff(
            settings=self.settings,
            codec=self._codec,
            definitions=self.executables,
            resources=self._resources,
            schedules=self._timetable.terms,
            middleware=self._middleware,
            listeners=self._listeners,
            seams=seams,
        )

    def __repr__(self) -> str:
        return f"<App with {len(self.definitions)} definitions>"
