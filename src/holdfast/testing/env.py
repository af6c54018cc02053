"""What workflows are tested in: a client with workers beside it, on a database whose time stands still."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, ParamSpec, Protocol, Self, TypeVar, Unpack, overload
from uuid import UUID

from holdfast.app import App
from holdfast.app.database import Database, open_database
from holdfast.app.hosted import WorkerOptions
from holdfast.client import Client, RunHandle
from holdfast.client.parts import Parts
from holdfast.core.errors import InvalidInput, ResultTimeout, UnknownName
from holdfast.core.states import RunKind
from holdfast.store.link import Link
from holdfast.store.testbed import clock
from holdfast.testing.crash import CrashPoint, When
from holdfast.testing.crew import Crew
from holdfast.testing.fake import Fake
from holdfast.testing.journal import Journal
from holdfast.workflow.activity import Activity
from holdfast.workflow.workflow import Workflow

P = ParamSpec("P")
R = TypeVar("R")

PATIENCE = timedelta(seconds=10)

_APPLICATION = "holdfast tests"
_EARLIEST = datetime(2000, 1, 2, tzinfo=UTC)
_FIRST_PAUSE, _LONGEST_PAUSE = 0.0005, 0.01


class OpenEnv(Protocol):
    """What the fixture ``holdfast_env`` gives: :func:`open_env`, on the database of the test."""

    def __call__(
        self,
        app: App,
        *,
        at: datetime | None = None,
        lanes: Sequence[str] = ("default",),
        schedules: bool = False,
        patience: timedelta = PATIENCE,
        **worker: Unpack[WorkerOptions],
    ) -> AbstractAsyncContextManager[Env]: ...


@asynccontextmanager
async def open_env(
    app: App,
    database_url: str,
    *,
    at: datetime | None = None,
    lanes: Sequence[str] = ("default",),
    schedules: bool = False,
    patience: timedelta = PATIENCE,
    **worker: Unpack[WorkerOptions],
) -> AsyncGenerator[Env]:
    """The environment for an app on a database of its own, for as long as the block lasts.

    Meanwhile whatever the app opens, in its activities too, opens that database. At the end all that still runs is
    dropped.

    Args:
        app: The app under test.
        database_url: A database that nobody else uses: the fixture ``holdfast_database``, or one of :class:`Databases`.
        at: What time it is at the beginning; without it the present, or where this database's clock stands already.
        lanes: The lanes that are served, each by a worker in this process; those of activities are anyway.
        schedules: Whether the schedules of the app start runs while time passes.
        patience: How long code under test may be at work before waiting for it fails; this is real time.
        worker: Options of the workers, as for ``app.worker()``.

    Raises:
        AssertionError: at the end, where a crash that was asked for has not happened.
        ConfigurationError: an option cannot work.
        DatabaseError: the database cannot be reached or used.
    """
    with app.overridden(origin="holdfast.testing", database_url=database_url, auto_setup=True):
        async with (
            open_database(app.settings()) as database,
            Env(app, database, at=at, lanes=lanes, schedules=schedules, patience=patience, options=worker) as env,
        ):
            yield env


class Env(Client):
    """A client of the app under test, with workers beside it; opened by :func:`open_env`.

    Every verb of a client is one of this. Time stands still: only ``advance`` and ``result`` move it, and every timer,
    back-off, due time and timeout of a run follows. What code under test takes to run is real time.
    """

    def __init__(
        self,
        app: App,
        database: Database,
        *,
        at: datetime | None,
        lanes: Sequence[str],
        schedules: bool,
        patience: timedelta,
        options: WorkerOptions,
    ) -> None:
        seal = app.seal()
        super().__init__(
            Parts(
                dsn=database.dsn,
                statements=database.statements,
                seal=seal,
                definitions=app.definitions,
                application=_APPLICATION,
            )
        )
        if at is not None and (at.utcoffset() is None or at < _EARLIEST):
            raise InvalidInput(f"at is {at!r}: use a time with a time zone, not before the year 2000")
        self.app = app
        self.database_url = database.dsn
        """The database of this test."""
        own = (one.lane for one in app.definitions.values() if isinstance(one, Activity))
        self._lanes = [*lanes, *(lane for lane in own if lane is not None)]
        self._options = options
        self._patience = patience.total_seconds()
        self._begins = at
        self._at = datetime.min.replace(tzinfo=UTC)
        self._testbed = Link(database.dsn, clock.statements(database.statements.schema), application=_APPLICATION)
        self._fakes: dict[str, Fake[..., Any]] = {}
        self._points: list[CrashPoint] = []
        self._schedules_run = schedules
        self._crew = Crew(app, fakes=self._fakes, points=self._points, schedules=schedules, end_lease=self._end_lease)
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            await super().__aenter__()
            stack.push_async_exit(super().__aexit__)
            stack.push_async_callback(self._testbed.close)
            async with self._testbed.session() as session:
                self._at = await clock.stop_clock(session, self._begins)
            await stack.enter_async_context(self._crew)
            self._crew.time_moved(self._at)
            for lane in dict.fromkeys(self._lanes):
                await self._crew.hire({**self._options, "lane": lane})
            if self._schedules_run:
                await self._quiet()  # those in the code are there then
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.__aexit__(kind, error, trace)
        missed = [point for point in self._points if not point.happened]
        if missed and kind is None:
            raise AssertionError(
                f"no worker was lost at {', '.join(f'{point.key!r}' for point in missed)}: nothing was recorded there; "
                "see which keys a run records with `print(await env.journal(run))`"
            )

    # ---- time ----------------------------------------------------------------------------------------------------

    def now(self) -> datetime:
        """What time it is for the runs."""
        return self._at

    async def advance(
        self,
        span: timedelta = timedelta(0),
        /,
        *,
        weeks: float = 0,
        days: float = 0,
        hours: float = 0,
        minutes: float = 0,
        seconds: float = 0,
    ) -> datetime:
        """Lets so much time pass: ``await env.advance(days=11)``. Gives what time it is then.

        What becomes due on the way is executed at its time, one moment after the other; it returns when the time has
        come and nothing is at work any more.

        Raises:
            InvalidInput: time does not go back.
            AssertionError: something is still at work when the patience is over; the message says what.
        """
        span += timedelta(weeks=weeks, days=days, hours=hours, minutes=minutes, seconds=seconds)
        if span < timedelta(0):
            raise InvalidInput(f"time does not go back, by {-span}")
        until = self._at + span
        while (moment := await self._quiet()) is not None and moment <= until:
            await self._move(moment)
        await self._move(until)
        await self._quiet()
        return self._at

    async def settled(self) -> None:
        """Returns when all that can be done now has been done, and everything waits; no time passes for the runs.

        Raises:
            AssertionError: something is still at work when the patience is over; the message says what.
        """
        await self._quiet()

    async def result(self, run: RunHandle[R], *, within: timedelta = timedelta(days=3650)) -> R:
        """The result of the run; time passes, from one due moment to the next, until it has ended.

        Raises:
            AssertionError: it waits for something that time does not bring, or longer than ``within``.
            As ``run.result()``, where it did not succeed.
        """
        until = self._at + within
        while True:
            moment = await self._quiet()
            try:
                return await run.result(timeout=timedelta(0))
            except ResultTimeout:
                pass
            if moment is None or moment > until:
                raise AssertionError(await self._why(run))
            await self._move(moment)

    # ---- trouble -------------------------------------------------------------------------------------------------

    def crash_at(self, key: str, *, when: When = "before", run: RunHandle[Any] | UUID | None = None) -> CrashPoint:
        """A worker is lost, once, when it is about to record this; another takes over at once.

        As after ``kill -9``: whatever else it had in memory is lost with it, and nothing that it still wants to write
        is accepted. Only its threads cannot be killed: a sync activity goes on, and its outcome is discarded.

        Args:
            key: The key of an outcome, such as ``charge#1`` or ``timer#2``; ``end`` is the end of a run.
            when: ``before`` it is recorded: the activity was executed, and will be again. ``after``: it is recorded,
                and the worker does not know.
            run: Of this run only.

        Raises:
            InvalidInput: that is not a key.
        """
        if "#" not in key and key != "end":
            raise InvalidInput(f"{key!r} is not the key of an outcome: that is charge#1, timer#2 and so on, or end")
        if when not in ("before", "after"):
            raise InvalidInput(f"when is {when!r}: use 'before' or 'after'")
        point = CrashPoint(key, when=when, run=run.id if isinstance(run, RunHandle) else run)
        self._points.append(point)
        return point

    @overload
    def fake(self, activity: Activity[P, None], /) -> Fake[P, None]: ...
    @overload
    def fake(self, activity: Activity[P, R], /, *, returning: R) -> Fake[P, R]: ...
    @overload
    def fake(self, activity: Activity[P, R], /, *, raising: Exception | type[Exception]) -> Fake[P, R]: ...
    @overload
    def fake(self, activity: Activity[P, R], /, *, side_effect: Callable[P, Coroutine[Any, Any, R]]) -> Fake[P, R]: ...
    @overload
    def fake(self, activity: Activity[P, R], /, *, side_effect: Callable[P, R]) -> Fake[P, R]: ...
    @overload
    def fake(self, activity: Activity[P, R], /, *, hangs: Literal[True]) -> Fake[P, R]: ...
    def fake(
        self,
        activity: Activity[P, Any],
        /,
        *,
        returning: object = None,
        raising: Exception | type[Exception] | None = None,
        side_effect: Callable[P, object] | None = None,
        hangs: bool = False,
    ) -> Fake[P, Any]:
        """From now on the workers call this in the place of the activity; its ``calls`` tells with what.

        Args:
            activity: Which one; a fake that it had before is replaced.
            returning: What it gives.
            raising: What it raises, each time: the activity's ``retry`` holds.
            side_effect: A function with the parameters of the activity, async or not, that is called instead.
            hangs: It never returns. Its timeout, and one that is around it, passes when time does.

        Raises:
            DefinitionError: the app has no such activity, or ``side_effect`` cannot be called as it is.
            Unstorable: ``returning`` does not fit what the activity returns.
            InvalidInput: more than one of these is given, or what cannot be raised.
        """
        if self.app.definitions.get(activity.name) is None:
            known = [name for name, one in self.app.definitions.items() if isinstance(one, Activity)]
            raise UnknownName("activity", activity.name, known)
        made = Fake(activity, returning=returning, raising=raising, side_effect=side_effect, hangs=hangs)
        self._fakes[activity.name] = made
        return made

    # ---- what was recorded ---------------------------------------------------------------------------------------

    async def journal(self, run: RunHandle[Any] | UUID | str) -> Journal:
        """What the run has seen so far.

        Raises:
            RunNotFound: there is no such run.
        """
        return Journal(await self.export(run.id if isinstance(run, RunHandle) else run))

    async def replay(self, run: Journal | RunHandle[Any] | UUID | str | Path) -> None:
        """Executes the code at hand on what a run has recorded; no activity is called, and nothing is written.

        Args:
            run: A run of this database, a journal that was read before, or the file of a run that was exported, from
                production for example, with ``holdfast run export``.

        Raises:
            NonDeterminismError: the code asks for something else than the journal holds; it says both.
            MissingClass: the journal holds an error whose class is not loaded.
            UnknownName: the app has no workflow of that name.
            InvalidInput: the run is one of an activity, which has nothing to replay; or the file holds no run.
            AssertionError: the run would fail, or get stuck, or there is no code for its version.
            RunNotFound: there is no such run.
        """
        if isinstance(run, Journal):
            journal = run
        else:
            journal = Journal.read(run) if isinstance(run, Path) else await self.journal(run)
        if journal.run.kind is not RunKind.WORKFLOW:
            raise InvalidInput(f"run {journal.run.run_id} is one of an activity: only workflows are replayed")
        report = self.app.check([journal.run])
        if report.unknown:
            known = {one.name for one in self.app.definitions.values() if isinstance(one, Workflow)}
            raise UnknownName("workflow", journal.run.name, sorted(known))
        for broken in report.breaks:
            raise broken.error or AssertionError(f"run {broken.run_id} of {broken.name!r}: {broken.reason}")

    # ---- inside --------------------------------------------------------------------------------------------------

    async def _move(self, moment: datetime) -> None:
        async with self._testbed.session() as session:
            self._at = await clock.set_clock(session, moment)
            await clock.end_overdue(session)
        self._crew.time_moved(self._at)

    async def _quiet(self) -> datetime | None:
        """Waits until nothing is to be done; gives the next moment at which there will be something."""
        loop = asyncio.get_running_loop()
        until = loop.time() + self._patience
        pause = _FIRST_PAUSE
        while True:
            self._crew.check()
            before = self._crew.stillness()
            if before is not None:
                async with self._testbed.session() as session:
                    found = await clock.restlessness(session, schedules=self._schedules_run)
                # Nothing that was at work meanwhile, and nothing in the database that memory does not know of.
                if self._crew.stillness() == before and found.held == before.held and not found.due | found.letters:
                    return min((one for one in (found.next, before.next) if one is not None), default=None)
                if found.due or found.letters:
                    self._crew.look_around()
            if loop.time() > until:
                raise AssertionError(self._at_work())
            await asyncio.sleep(pause)  # between two looks at a condition
            pause = min(pause * 1.5, _LONGEST_PAUSE)

    def _at_work(self) -> str:
        what = ", ".join(self._crew.at_work()) or "a run that comes to no rest"
        return (
            f"after {self._patience:g} s there is still something at work: {what}. If that is right, raise patience=; "
            "for an activity that is to hang, use env.fake(..., hangs=True)"
        )

    async def _why(self, run: RunHandle[Any]) -> str:
        known = await run.describe()
        waits = ", ".join(known.waits_for) or known.status
        reason = f": {known.blocked_reason}" if known.blocked_reason else ""
        return f"run {run.id} does not end by itself, it is {known.status} and waits for {waits}{reason}"

    async def _end_lease(self, worker: int) -> None:
        async with self._testbed.session() as session:
            await clock.end_lease(session, worker)
