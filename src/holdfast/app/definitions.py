"""What is written of a project: its workflows, activities, schedules and resources, as an app has them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager
from datetime import datetime, timedelta
from typing import Any, Literal, ParamSpec, TypeVar, Unpack, cast, overload

from holdfast.app.decorators import (
    ActivityDecorator,
    BatchDecorator,
    TransactionalDecorator,
    WorkflowDecorator,
    name_of,
)
from holdfast.app.registry import Registry
from holdfast.app.resource import Resource
from holdfast.app.surrounded import Surrounded
from holdfast.app.timetable import ScheduleOptions, Timetable
from holdfast.core.definition import Definition
from holdfast.core.errors import DefinitionError
from holdfast.core.isolation import IsolationLevel
from holdfast.core.limit import LimitOptions, refuse_unknown, tickets_of
from holdfast.core.retry import Retry
from holdfast.integrations.library import Library
from holdfast.workflow.activity import Activity, Isolation
from holdfast.workflow.batch import batched
from holdfast.workflow.transactional import Transactional
from holdfast.workflow.workflow import Workflow

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
D = TypeVar("D", bound=Definition[..., Any])


class Definitions(Surrounded):
    """The part of an app with which functions are registered."""

    def __init__(self) -> None:
        super().__init__()
        self._registry = Registry()
        self._timetable = Timetable(self._registry)
        self._resources: list[Resource[Any]] = []

    @overload
    def activity(self, fn: Callable[P, Coroutine[Any, Any, R]], /) -> Activity[P, R]: ...
    @overload
    def activity(self, fn: Callable[P, R], /) -> Activity[P, R]: ...
    @overload
    def activity(
        self,
        /,
        *,
        name: str | None = None,
        retry: Retry | None = None,
        timeout: timedelta | None = None,
        total_timeout: timedelta | None = None,
        max_concurrency: int | None = None,
        isolation: Isolation | None = None,
        heartbeat_timeout: timedelta | None = None,
        lane: str | None = None,
        **limits: Unpack[LimitOptions],
    ) -> ActivityDecorator: ...
    @overload
    def activity(
        self,
        /,
        *,
        transactional: Literal[True] | Library,
        isolation_level: IsolationLevel | None = None,
        name: str | None = None,
        retry: Retry | None = None,
        timeout: timedelta | None = None,
        total_timeout: timedelta | None = None,
        heartbeat_timeout: timedelta | None = None,
        lane: str | None = None,
        **limits: Unpack[LimitOptions],
    ) -> TransactionalDecorator: ...
    def activity(
        self,
        fn: Callable[..., Any] | None = None,
        /,
        *,
        name: str | None = None,
        retry: Retry | None = None,
        timeout: timedelta | None = None,
        total_timeout: timedelta | None = None,
        max_concurrency: int | None = None,
        isolation: Isolation | None = None,
        heartbeat_timeout: timedelta | None = None,
        transactional: bool | Library = False,
        isolation_level: IsolationLevel | None = None,
        lane: str | None = None,
        **limits: Unpack[LimitOptions],
    ) -> Any:
        """Makes a function an activity: ``@app.activity``, or ``@app.activity(retry=..., timeout=...)``.

        An ``async def`` runs on the worker's loop, any other function in a thread; both are awaited. ``timeout`` is
        for one attempt, ``total_timeout`` for all of them; at most ``max_concurrency`` of it run at once in a worker.
        ``isolation="process"`` runs a function that is not async in a process of its own, which can be killed.
        With ``heartbeat_timeout`` an attempt fails that does not call ``heartbeat()`` for so long.

        With ``lane`` it is dispatched: whoever serves that lane executes it, as a run of its own, and its workflow is
        woken when it has ended. To code there is no difference.

        With ``concurrency`` at most so many runs of it are executed at once, in all workers together, and with ``rate``
        no more begin in a time: see ``Limit`` and ``Rate``. Called in a workflow it is dispatched.

        With ``transactional`` it runs in a transaction of this database, and what it does there, its outcome, and the
        proof that its worker still holds the run are one commit: exactly once. The connection is its first argument,
        and not passed by its callers; its annotation says of which library, or ``transactional`` itself does.

        Raises:
            DefinitionError: the function or its name cannot be used, or the name is taken.
        """
        refuse_unknown(limits)

        def register(function: Callable[..., Any]) -> Activity[..., Any]:
            given = name_of(function) if name is None else name
            options: dict[str, Any] = {
                "max_concurrency": max_concurrency,
                "isolation": isolation,
                "heartbeat_timeout": heartbeat_timeout,
                "lane": lane,
            }
            if transactional is not False:
                library = None if transactional is True else transactional
                options["transactional"] = Transactional.of(
                    function, library, isolation_level, what=f"activity {given!r}"
                )
            elif isolation_level is not None:
                raise DefinitionError(f"activity {given!r}: isolation_level= is for transactional=True")
            made: Activity[..., Any] = Activity(
                function, name=given, retry=retry, timeout=timeout, total_timeout=total_timeout, **options
            )
            made.limit(tickets_of(made, limits))
            self._registry.add(made)
            return made

        return register if fn is None else register(fn)

    @overload
    def workflow(self, fn: Callable[P, Coroutine[Any, Any, R]], /) -> Workflow[P, R]: ...
    @overload
    def workflow(self, fn: Callable[P, R], /) -> Workflow[P, R]: ...
    @overload
    def workflow(
        self, /, *, name: str | None = None, version: int | str | None = None, **limits: Unpack[LimitOptions]
    ) -> WorkflowDecorator: ...
    def workflow(
        self,
        fn: Callable[..., Any] | None = None,
        /,
        *,
        name: str | None = None,
        version: int | str | None = None,
        **limits: Unpack[LimitOptions],
    ) -> Any:
        """Makes a function a workflow: ``@app.workflow``, or ``@app.workflow(name="trial-onboarding")``.

        Usually an ``async def``; one that is not async waits with ``wait(...)``, and needs the extra ``sync``.

        With ``version`` a run stays with the version that it begins with: only workers that carry it execute the run.
        Several versions of one name may be registered; new runs begin with the highest, where numbers in a text count
        as numbers.

        With ``concurrency`` at most so many runs of it are open that have begun, and with ``rate`` no more begin in a
        time: see ``Limit`` and ``Rate``.

        Raises:
            DefinitionError: the function, its name or version cannot be used, or both are taken.
        """
        refuse_unknown(limits)

        def register(function: Callable[..., Any]) -> Workflow[..., Any]:
            made: Workflow[..., Any] = Workflow(
                function, name=name_of(function) if name is None else name, version=version
            )
            made.tickets = tickets_of(made, limits)
            self._registry.add(made)
            return made

        return register if fn is None else register(fn)

    def batch(
        self,
        *,
        size: int,
        wait: timedelta,
        name: str | None = None,
        retry: Retry | None = None,
        timeout: timedelta | None = None,
        total_timeout: timedelta | None = None,
        lane: str | None = None,
        **limits: Unpack[LimitOptions],
    ) -> BatchDecorator:
        """Makes a function that takes a list an activity of one: ``@app.batch(size=100, wait=timedelta(seconds=2))``.

        Each start, and each call in a workflow, is of one item: a run or a step of its own, with its own result and
        retries. A worker gathers them, and calls the function as soon as it has ``size`` of them, or the first has
        waited for ``wait``. It gives a list with a result for each item, in their order, or nothing. What waits or is
        executed in a batch takes no slot. If the call fails, so does the attempt of each; with every attempt the
        batches are four times smaller, so that one that spoils them is alone in the end.

        Raises:
            DefinitionError: the function, its name or an option cannot be used, or the name is taken.
        """
        refuse_unknown(limits)

        def register(fn: Callable[..., Any]) -> Activity[..., Any]:
            given = name_of(fn) if name is None else name
            one = batched(fn, what=f"activity {given!r}", size=size, wait=wait)
            made: Activity[..., Any] = Activity(
                one, name=given, retry=retry, timeout=timeout, total_timeout=total_timeout, lane=lane
            )
            made.is_batch = True
            made.limit(tickets_of(made, limits))
            self._registry.add(made)
            return made

        return cast("BatchDecorator", register)

    def schedule(
        self,
        when: str | None = None,
        /,
        *,
        every: timedelta | None = None,
        tz: str | None = None,
        start: datetime | None = None,
        name: str | None = None,
        **options: Unpack[ScheduleOptions],
    ) -> Callable[[D], D]:
        """Starts a run of the workflow or activity below at these times: ``@app.schedule("0 18 * * mon-fri", tz=...)``.

        ``when`` is a cron expression or readable text, by the wall clock of ``tz`` (UTC without); ``every`` an
        interval, counted from ``start`` or the beginning of 1970. Its name is that of the workflow or activity; more
        than one need ``name=``. The other options are those of ``client.schedules.create``.

        Workers store it when they start. While two versions of the code run, the newer one counts; when no live worker
        has it in its code any more, it becomes inactive.

        Raises:
            InvalidSchedule: the times cannot be read, or never come; with the place in the text.
            DefinitionError: an option or the input cannot be used, or the name is taken.
        """

        def add(definition: D) -> D:
            self._timetable.add(definition, name, when, every=every, tz=tz, start=start, options=options)
            return definition

        return add

    @overload
    def lifespan(self, fn: Callable[[], AsyncGenerator[T, None]], /) -> Resource[T]: ...
    @overload
    def lifespan(self, fn: Callable[[], AsyncIterator[T]], /) -> Resource[T]: ...
    @overload
    def lifespan(self, fn: Callable[[], AbstractAsyncContextManager[T]], /) -> Resource[T]: ...
    def lifespan(self, fn: Callable[[], Any], /) -> Resource[Any]:
        """Makes an ``async def`` with one ``yield`` a resource that each worker opens at its start.

        Resources are opened in the order of the code, before the first run is claimed, and closed in reverse after
        the last activity has ended. In activities the name of the function gives it: ``database.value``.

        Raises:
            DefinitionError: the function cannot be used so.
        """
        resource: Resource[Any] = Resource(fn)
        self._resources.append(resource)
        return resource

    def include(self, other: Definitions) -> None:
        """Takes in all that another app has, schedules and resources too, so that a project can be written in several.

        Settings and codec, middleware and listeners stay those of this one.

        Raises:
            DefinitionError: a name is taken.
        """
        for definition in other.executables.values():
            self._registry.add(definition)
        self._timetable.include(other._timetable)
        self._resources += other._resources

    @property
    def definitions(self) -> Mapping[str, Definition[..., Any]]:
        """Every workflow and activity by its name; of several versions of a workflow the highest."""
        return self._registry.definitions

    @property
    def executables(self) -> Mapping[str, Definition[..., Any]]:
        """Everything that a worker of this app executes; the versions of a workflow as ``name@version``."""
        return self._registry.executables
