"""The client: what starts runs, and finds them again."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import repeat
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, TypeVarTuple, overload
from uuid import UUID

from holdfast.client import completing
from holdfast.client.encoding import as_call
from holdfast.client.exporting import Sample, sample_runs
from holdfast.client.handle import RunHandle, run_id_of
from holdfast.client.limits import Limits
from holdfast.client.listing import list_runs
from holdfast.client.options import StartOptions, keys_of_many, start_options
from holdfast.client.records import Records
from holdfast.client.selection import Runs
from holdfast.client.workers import Workers
from holdfast.core.definition import Call, Definition
from holdfast.core.errors import InvalidInput

if TYPE_CHECKING:
    from holdfast.client.description import RunDescription
    from holdfast.client.listing import Page, RunSummary
    from holdfast.client.parts import Parts
    from holdfast.client.sending import Cancellation
    from holdfast.client.why import Why
    from holdfast.core.export import RunExport
    from holdfast.core.key import Key
    from holdfast.core.priority import PriorityName
    from holdfast.core.retry import Retry
    from holdfast.core.signal import SignalType
    from holdfast.core.states import RunKindName, RunStatus
    from holdfast.integrations.catalogue import CallersConnection
    from holdfast.store.starts import Start, Started

R = TypeVar("R")
T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Client:
    """Starts, signals, cancels, awaits and inspects runs; never executes one. For one event loop, open as a context.

    Options of every start: ``key`` makes it idempotent, a second start with the same key gives the same run, and a
    ``Key`` says for how long and what else may become of the second one; ``lane`` and ``priority`` say which line it
    stands in; it is due ``at`` a time or ``after`` a while, otherwise now; ``tags`` are found by ``list``; after
    ``timeout`` from now it ends as timed out. A job is tried again as ``retry`` says, in the place of its activity's
    own. ``headers`` travel with it, to its activities and children, and are stored as they are, whatever the codec.
    With ``connection``, an asyncpg connection, it is made in the caller's own transaction there: it exists if and when
    that commits.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._context = parts.context
        self._database = parts.database
        self._encoder = parts.encoder
        self._launch = parts.launch
        self.workers = Workers(self._context)
        """Who executes runs: list, pause, resume, drain and stop workers."""
        self.limits = Limits(self._context)
        """How much of limits is taken, and who waits."""
        self.schedules = parts.schedules
        """What starts runs by the clock: make, list, change, pause, trigger and preview schedules."""
        self.driven = parts.driven
        """Workflows whose runs are driven by hand: create and trigger them, and take their runs."""
        self.records = Records(self._database)
        """What is recorded of runs that have ended: prune removes what is old."""
        self.queue = parts.queues
        """A queue by its name, ``client.queue("emails")``: send and receive messages."""

    async def __aenter__(self) -> Self:
        await self._parts.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._parts.close()

    # ---- starting

    @overload
    async def start(
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
        connection: CallersConnection | None = None,
    ) -> RunHandle[R]: ...
    @overload
    async def start(
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
        connection: CallersConnection | None = None,
    ) -> RunHandle[R]: ...
    async def start(
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
        connection: CallersConnection | None = None,
    ) -> RunHandle[Any]:
        """Starts a run of a workflow or activity; returns after its commit.

        For arguments by keyword: ``start(wf.call(company="Acme"))``. Starts that are asked for at the same time travel
        together. If the connection is lost meanwhile, they are sent again, which makes no second run.

        Raises:
            InvalidInput: the arguments do not fit, or an option cannot be used; nothing is written.
            Unstorable: an argument cannot be stored, or is too large; nothing is written.
            KeyConflict: the key belongs to a run with another input.
            KeyTaken: the key belongs to a run, and this start is to be refused then.
            DatabaseUnavailable: the database was away for too long; the run may have been started.
        """
        call = as_call(wf, args)
        options = start_options(
            call.definition.what,
            lane=lane,
            priority=priority,
            at=at,
            after=after,
            tags=tags,
            timeout=timeout,
            retry=retry,
            key=key,
            headers=headers,
        )
        answer = await self._launch.one(
            call.definition.name,
            lambda options: self._encoder.call(call, options, key),
            options,
            key=key,
            connection=connection,
        )
        return self._handle(answer, call.definition, known=connection is None)

    async def start_by_name(
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
        connection: CallersConnection | None = None,
    ) -> RunHandle[Any]:
        """As ``start``, without the code: ``input`` is plain JSON by the names of the parameters.

        Where this client knows the name, the input is checked as ever; where it does not, it is stored as it is, and
        the run, of a workflow unless it is said to be a ``job``, waits for a worker that knows the name.
        """
        options = start_options(
            f"{name!r}",
            lane=lane,
            priority=priority,
            at=at,
            after=after,
            tags=tags,
            timeout=timeout,
            retry=retry,
            key=key,
            headers=headers,
        )
        definition = self._context.definitions.get(name)
        answer = await self._launch.one(
            name,
            lambda options: self._encoder.named(name, input or {}, options, key, job=job),
            options,
            key=key,
            connection=connection,
        )
        return self._handle(answer, definition, known=connection is None)

    async def start_many(
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
        connection: CallersConnection | None = None,
    ) -> list[RunHandle[R]]:
        """Starts a run of each call, all of them or none, in one transaction; the handles come in the calls' order.

        ``keys`` has one for each call; the other options hold for all.

        Raises:
            As ``start``, for the first that cannot be started.
        """
        options = start_options(
            "these runs",
            lane=lane,
            priority=priority,
            at=at,
            after=after,
            tags=tags,
            timeout=timeout,
            retry=retry,
            headers=headers,
        )
        bound = [as_call(call, ()) for call in calls]
        given = keys_of_many(keys, count=len(bound))

        def make(options: StartOptions) -> Iterable[Start]:
            if keys is None:
                return self._encoder.calls(bound, options)
            return map(self._encoder.call, bound, repeat(options), given)

        names = [call.definition.name for call in bound]
        answers = await self._launch.many(names, make, options, keyed=keys is not None, connection=connection)
        # A run in a transaction of somebody else's is not known to exist before that commits.
        own = connection is None
        return [self._handle(answer, call.definition, known=own) for call, answer in zip(bound, answers, strict=True)]

    def _handle(self, started: Started, definition: Definition[..., R] | None, *, known: bool) -> RunHandle[R]:
        # One that was found by its key may have gone since, and only the key be left.
        known = known and not started.existing
        return RunHandle(self._context, started.id, definition, existing=started.existing, known=known)

    # ---- runs that are there

    @overload
    def get(self, run_id: UUID | str, wf: Definition[..., R], /) -> RunHandle[R]: ...
    @overload
    def get(self, run_id: UUID | str, wf: None = None, /) -> RunHandle[Any]: ...
    def get(self, run_id: UUID | str, wf: Definition[..., Any] | None = None, /) -> RunHandle[Any]:
        """A run by its id, from any process; with ``wf`` its result is typed, without it is plain JSON.

        Nothing is looked up: whether there is such a run turns out when something is asked of it.
        """
        return RunHandle(self._context, run_id_of(run_id), wf)

    async def describe(self, run_id: UUID | str, *, exact: bool = False) -> RunDescription:
        """All that is known of a run: see ``RunHandle.describe``."""
        return await self.get(run_id).describe(exact=exact)

    async def why(self, run_id: UUID | str) -> Why:
        """Why a run stands where it stands: see ``RunHandle.why``."""
        return await self.get(run_id).why()

    async def export(self, run_id: UUID | str) -> RunExport:
        """A run with its journal and its result: see ``RunHandle.export``."""
        return await self.get(run_id).export()

    async def sample(
        self, count: int = 200, *, names: Sequence[str] | None = None, open: bool = True, ended: bool = False
    ) -> Sample:
        """Exports of at most ``count`` runs of workflows, spread over the workflows and their versions.

        Args:
            count: Of 1 and more.
            names: Of these workflows only.
            open: Runs that have not ended.
            ended: Some of those that have, among the latest; with open ones, half of all.

        Raises:
            InvalidInput: the count is not positive.
            Unreadable: a payload was written with a codec that is not configured here.
        """
        if count < 1:
            raise InvalidInput(f"count is {count}: a sample has one run or more")
        return await sample_runs(self._context, count, names=names, open_=open, ended=ended)

    async def signal(
        self,
        run_id: UUID | str,
        signal: SignalType[T],
        value: T,
        *,
        key: str | None = None,
        connection: CallersConnection | None = None,
    ) -> bool:
        """Sends a signal to a run by its id: see ``RunHandle.signal``."""
        return await self.get(run_id).signal(signal, value, key=key, connection=connection)

    async def signal_by_name(
        self,
        run_id: UUID | str,
        name: str,
        value: object = None,
        *,
        key: str | None = None,
        connection: CallersConnection | None = None,
    ) -> bool:
        """Sends a signal with a payload of plain JSON to a run by its id."""
        return await self.get(run_id).signal_by_name(name, value, key=key, connection=connection)

    @overload
    async def complete(
        self, token: str, value: R, activity: Definition[..., R], /, *, connection: CallersConnection | None = None
    ) -> None: ...
    @overload
    async def complete(
        self, token: str, value: object = None, /, *, connection: CallersConnection | None = None
    ) -> None: ...
    async def complete(
        self,
        token: str,
        value: object = None,
        activity: Definition[..., Any] | None = None,
        /,
        *,
        connection: CallersConnection | None = None,
    ) -> None:
        """Completes an activity from outside: ``value`` is its result. The token is ``activity_info().token``.

        The value is checked where the activity is given, or known here by its name; and in any case by the worker,
        where one that does not fit is a failure of the activity.

        Raises:
            CompletionRefused: it was completed before, or its attempt is over.
            RunEnded, RunNotFound: nobody waits for it any more.
            InvalidInput, Unstorable: it is no token, or the value does not fit the activity, or is too large.
        """
        await completing.complete(self._context, token, value, activity, connection=connection)

    async def fail(
        self, token: str, error: BaseException | str, /, *, connection: CallersConnection | None = None
    ) -> None:
        """Fails an attempt at an activity from outside; it is tried again as the activity's ``retry`` says.

        Raises:
            CompletionRefused, RunEnded, RunNotFound, InvalidInput: as ``complete``.
        """
        await completing.fail(self._context, token, error, connection=connection)

    async def cancel(self, run_id: UUID | str, *, connection: CallersConnection | None = None) -> Cancellation:
        """Cancels a run by its id: see ``RunHandle.cancel``."""
        return await self.get(run_id).cancel(connection=connection)

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
    ) -> Runs:
        """All runs that fit these filters, those of ``list``, to do something to: ``client.runs(name="x").pause()``."""
        return Runs(
            self._context,
            name=name,
            version=None if version is None else str(version),
            status=status,
            lane=lane,
            kind=kind,
            tags=tags,
            parent=None if parent is None else run_id_of(parent),
            root=None if root is None else run_id_of(root),
            since=since,
            until=until,
        )

    async def list(
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
        """One page of the runs that fit all filters, newest first; ``after`` is the ``next`` of the page before.

        ``kind`` is for workflows or for jobs alone; ``parent`` for the children of that run, ``root`` for all that hang
        below a run which is nobody's child. ``since`` and ``until`` (exclusive) go by the time in the runs' ids, which
        their starters' clocks gave. Where only failed or cancelled runs are asked for, the last to end come first.

        Raises:
            InvalidInput: a filter cannot be used.
        """
        return await list_runs(
            self._database,
            name=name,
            version=None if version is None else str(version),
            status=status,
            lane=lane,
            kind=kind,
            tags=tags,
            parent=None if parent is None else run_id_of(parent),
            root=None if root is None else run_id_of(root),
            since=since,
            until=until,
            after=after,
            limit=limit,
        )

    def __repr__(self) -> str:
        return f"<client of {self._database.statements.schema!r}>"
