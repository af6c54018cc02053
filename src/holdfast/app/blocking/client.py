"""The verbs of a client, blocking. Written by `./dev write` from holdfast.client.client: change it there."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, TypeVarTuple, cast, overload
from uuid import UUID

from holdfast.app.blocking.driven import BlockingDriven
from holdfast.app.blocking.handle import BlockingRunHandle, as_blocking
from holdfast.app.blocking.limits import BlockingLimits
from holdfast.app.blocking.queue import BlockingQueues
from holdfast.app.blocking.records import BlockingRecords
from holdfast.app.blocking.runs import BlockingRuns
from holdfast.app.blocking.schedules import BlockingSchedules
from holdfast.app.blocking.workers import BlockingWorkers
from holdfast.client.handle import run_id_of
from holdfast.integrations.catalogue import of_this_thread

if TYPE_CHECKING:
    from holdfast.app.blocking.bridge import Bridge
    from holdfast.client.client import Client
    from holdfast.client.description import RunDescription
    from holdfast.client.exporting import Sample
    from holdfast.client.handle import RunHandle
    from holdfast.client.listing import Page, RunSummary
    from holdfast.client.sending import Cancellation
    from holdfast.client.why import Why
    from holdfast.core.definition import Call, Definition
    from holdfast.core.export import RunExport
    from holdfast.core.key import Key
    from holdfast.core.priority import PriorityName
    from holdfast.core.retry import Retry
    from holdfast.core.signal import SignalType
    from holdfast.core.states import RunKindName, RunStatus
    from holdfast.integrations.catalogue import BlockingConnection

R = TypeVar("R")
T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class BlockingClient:
    """Starts, signals, cancels, awaits and inspects runs, from code that is not async; for any thread.

    Every verb of :class:`Client`, with the same parameters, which waits and gives the result. It connects when it is
    first used, in a thread of its own, and closes with the block, by :meth:`close`, or with the process. After a fork
    the new process connects anew. ``connection=`` takes a connection of Django, of psycopg, or a session or connection
    of SQLAlchemy, all of the calling thread, in whose transaction the run is started, signalled or cancelled.
    """

    def __init__(self, bridge: Bridge[Client]) -> None:
        self._bridge = bridge

    def __enter__(self) -> Self:
        self._bridge.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes its connections; calls that are under way in other threads fail."""
        self._bridge.close()

    @property
    def workers(self) -> BlockingWorkers:
        """Who executes runs."""
        return BlockingWorkers(self._bridge)

    @property
    def limits(self) -> BlockingLimits:
        """How much of limits is taken, and who waits."""
        return BlockingLimits(self._bridge)

    @property
    def schedules(self) -> BlockingSchedules:
        """What starts runs by the clock."""
        return BlockingSchedules(self._bridge)

    @property
    def records(self) -> BlockingRecords:
        """What is recorded of runs that have ended."""
        return BlockingRecords(self._bridge)

    @property
    def driven(self) -> BlockingDriven:
        """Workflows whose runs are driven by hand."""
        return BlockingDriven(self._bridge)

    @property
    def queue(self) -> BlockingQueues:
        """A queue by its name, ``client.queue("emails")``."""
        return BlockingQueues(self._bridge)

    @overload
    def start(
        self,
        wf: Call[R],
        /,
        *,
        key: str | Key | None = None,
        lane: str = "default",
        priority: PriorityName = "medium",
        at: datetime | None = None,
        after: timedelta | None = None,
        tags: Mapping[str, str] | None = None,
        timeout: timedelta | None = None,
        retry: Retry | None = None,
        headers: Mapping[str, str] | None = None,
        connection: BlockingConnection | None = None,
    ) -> BlockingRunHandle[R]: ...
    @overload
    def start(
        self,
        wf: Callable[[*Ts], Coroutine[Any, Any, R]],
        /,
        *args: *Ts,
        key: str | Key | None = None,
        lane: str = "default",
        priority: PriorityName = "medium",
        at: datetime | None = None,
        after: timedelta | None = None,
        tags: Mapping[str, str] | None = None,
        timeout: timedelta | None = None,
        retry: Retry | None = None,
        headers: Mapping[str, str] | None = None,
        connection: BlockingConnection | None = None,
    ) -> BlockingRunHandle[R]: ...
    def start(
        self,
        wf: object,
        /,
        *args: object,
        key: str | Key | None = None,
        lane: str = "default",
        priority: str = "medium",
        at: datetime | None = None,
        after: timedelta | None = None,
        tags: Mapping[str, str] | None = None,
        timeout: timedelta | None = None,
        retry: Retry | None = None,
        headers: Mapping[str, str] | None = None,
        connection: BlockingConnection | None = None,
    ) -> BlockingRunHandle[Any]:
        """Starts a run of a workflow or activity; returns after its commit."""
        connection = of_this_thread(connection)
        outcome: RunHandle[Any] = self._bridge.call(
            lambda client: cast("Any", client).start(
                wf,
                *args,
                key=key,
                lane=lane,
                priority=priority,
                at=at,
                after=after,
                tags=tags,
                timeout=timeout,
                retry=retry,
                headers=headers,
                connection=connection,
            )
        )
        return as_blocking(self._bridge, outcome)

    def start_by_name(
        self,
        name: str,
        input: Mapping[str, object] | None = None,
        *,
        key: str | Key | None = None,
        lane: str = "default",
        priority: PriorityName = "medium",
        at: datetime | None = None,
        after: timedelta | None = None,
        tags: Mapping[str, str] | None = None,
        timeout: timedelta | None = None,
        retry: Retry | None = None,
        headers: Mapping[str, str] | None = None,
        job: bool = False,
        connection: BlockingConnection | None = None,
    ) -> BlockingRunHandle[Any]:
        """As ``start``, without the code: ``input`` is plain JSON by the names of the parameters."""
        connection = of_this_thread(connection)
        return as_blocking(
            self._bridge,
            self._bridge.call(
                lambda client: client.start_by_name(
                    name,
                    input,
                    key=key,
                    lane=lane,
                    priority=priority,
                    at=at,
                    after=after,
                    tags=tags,
                    timeout=timeout,
                    retry=retry,
                    headers=headers,
                    job=job,
                    connection=connection,
                )
            ),
        )

    def start_many(
        self,
        calls: Iterable[Call[R]],
        *,
        keys: Iterable[str | Key] | None = None,
        lane: str = "default",
        priority: PriorityName = "medium",
        at: datetime | None = None,
        after: timedelta | None = None,
        tags: Mapping[str, str] | None = None,
        timeout: timedelta | None = None,
        retry: Retry | None = None,
        headers: Mapping[str, str] | None = None,
        connection: BlockingConnection | None = None,
    ) -> list[BlockingRunHandle[R]]:
        """Starts a run of each call, all of them or none, in one transaction; the handles come in the calls' order."""
        connection = of_this_thread(connection)
        return [
            as_blocking(self._bridge, one)
            for one in self._bridge.call(
                lambda client: client.start_many(
                    calls,
                    keys=keys,
                    lane=lane,
                    priority=priority,
                    at=at,
                    after=after,
                    tags=tags,
                    timeout=timeout,
                    retry=retry,
                    headers=headers,
                    connection=connection,
                )
            )
        ]

    @overload
    def get(self, run_id: UUID | str, wf: Definition[..., R], /) -> BlockingRunHandle[R]: ...
    @overload
    def get(self, run_id: UUID | str, wf: None = None, /) -> BlockingRunHandle[Any]: ...
    def get(self, run_id: UUID | str, wf: Definition[..., Any] | None = None, /) -> BlockingRunHandle[Any]:
        """A run by its id, from any process; with ``wf`` its result is typed, without it is plain JSON."""
        return BlockingRunHandle(self._bridge, run_id_of(run_id), wf)

    def describe(self, run_id: UUID | str, *, exact: bool = False) -> RunDescription:
        """All that is known of a run: see ``RunHandle.describe``."""
        return self._bridge.call(lambda client: client.describe(run_id, exact=exact))

    def why(self, run_id: UUID | str) -> Why:
        """Why a run stands where it stands: see ``RunHandle.why``."""
        return self._bridge.call(lambda client: client.why(run_id))

    def export(self, run_id: UUID | str) -> RunExport:
        """A run with its journal and its result: see ``RunHandle.export``."""
        return self._bridge.call(lambda client: client.export(run_id))

    def sample(
        self, count: int = 200, *, names: Sequence[str] | None = None, open: bool = True, ended: bool = False
    ) -> Sample:
        """Exports of at most ``count`` runs of workflows, spread over the workflows and their versions."""
        return self._bridge.call(lambda client: client.sample(count, names=names, open=open, ended=ended))

    def signal(
        self,
        run_id: UUID | str,
        signal: SignalType[T],
        value: T,
        *,
        key: str | None = None,
        connection: BlockingConnection | None = None,
    ) -> bool:
        """Sends a signal to a run by its id: see ``RunHandle.signal``."""
        connection = of_this_thread(connection)
        return self._bridge.call(lambda client: client.signal(run_id, signal, value, key=key, connection=connection))

    def signal_by_name(
        self,
        run_id: UUID | str,
        name: str,
        value: object = None,
        *,
        key: str | None = None,
        connection: BlockingConnection | None = None,
    ) -> bool:
        """Sends a signal with a payload of plain JSON to a run by its id."""
        connection = of_this_thread(connection)
        return self._bridge.call(
            lambda client: client.signal_by_name(run_id, name, value, key=key, connection=connection)
        )

    @overload
    def complete(
        self, token: str, value: R, activity: Definition[..., R], /, *, connection: BlockingConnection | None = None
    ) -> None: ...
    @overload
    def complete(
        self, token: str, value: object = None, /, *, connection: BlockingConnection | None = None
    ) -> None: ...
    def complete(
        self,
        token: str,
        value: object = None,
        activity: Definition[..., Any] | None = None,
        /,
        *,
        connection: BlockingConnection | None = None,
    ) -> None:
        """Completes an activity from outside: ``value`` is its result."""
        connection = of_this_thread(connection)
        self._bridge.call(lambda client: cast("Any", client).complete(token, value, activity, connection=connection))

    def fail(self, token: str, error: BaseException | str, /, *, connection: BlockingConnection | None = None) -> None:
        """Fails an attempt at an activity from outside; it is tried again as the activity's ``retry`` says."""
        connection = of_this_thread(connection)
        self._bridge.call(lambda client: client.fail(token, error, connection=connection))

    def cancel(self, run_id: UUID | str, *, connection: BlockingConnection | None = None) -> Cancellation:
        """Cancels a run by its id: see ``RunHandle.cancel``."""
        connection = of_this_thread(connection)
        return self._bridge.call(lambda client: client.cancel(run_id, connection=connection))

    def runs(
        self,
        *,
        name: str | None = None,
        version: int | str | None = None,
        status: RunStatus | str | Iterable[RunStatus | str] | None = None,
        lane: str | None = None,
        kind: RunKindName | None = None,
        tags: Mapping[str, str] | None = None,
        parent: UUID | str | None = None,
        root: UUID | str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> BlockingRuns:
        """All runs that fit these filters, those of ``list``, to do something to."""
        return BlockingRuns(
            self._bridge,
            lambda client: client.runs(
                name=name,
                version=version,
                status=status,
                lane=lane,
                kind=kind,
                tags=tags,
                parent=parent,
                root=root,
                since=since,
                until=until,
            ),
        )

    def list(
        self,
        *,
        name: str | None = None,
        version: int | str | None = None,
        status: RunStatus | str | Iterable[RunStatus | str] | None = None,
        lane: str | None = None,
        kind: RunKindName | None = None,
        tags: Mapping[str, str] | None = None,
        parent: UUID | str | None = None,
        root: UUID | str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        after: str | None = None,
        limit: int = 100,
    ) -> Page[RunSummary]:
        """One page of the runs that fit all filters, newest first; ``after`` is the ``next`` of the page before."""
        return self._bridge.call(
            lambda client: client.list(
                name=name,
                version=version,
                status=status,
                lane=lane,
                kind=kind,
                tags=tags,
                parent=parent,
                root=root,
                since=since,
                until=until,
                after=after,
                limit=limit,
            )
        )
