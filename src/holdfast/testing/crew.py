"""The workers under test: one for each lane, in this process, with parts that the environment has in its hand."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import datetime, timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Self
from uuid import UUID

from holdfast.app.hosted import HostedWorker, WorkerOptions
from holdfast.testing.crash import CrashingFlush, CrashPoint
from holdfast.testing.parts import StandingClock, Understudy
from holdfast.worker.alarms import FOREVER_AWARE
from holdfast.worker.seams import Seams

if TYPE_CHECKING:
    from holdfast.app import App
    from holdfast.testing.fake import Fake
    from holdfast.worker.tenure import Tenure

_OPTIONS: WorkerOptions = {"name": "under-test", "skip_warm_up": True, "grace": timedelta(0)}


class Stillness(NamedTuple):
    """Workers that wait: the runs in their memory, the first moment that one waits for, how much was done so far."""

    held: frozenset[UUID]
    next: datetime | None
    done: int


class Crew:
    """Opens the workers, tells them what time it is, and knows whether anything of them is at work."""

    def __init__(
        self,
        app: App,
        *,
        fakes: Mapping[str, Fake[..., Any]],
        points: Sequence[CrashPoint],
        schedules: bool,
        end_lease: Callable[[int], Awaitable[None]],
    ) -> None:
        self._app = app
        self._fakes = fakes
        self._schedules = schedules
        self._flush = CrashingFlush(points, end_lease)
        self._clock = StandingClock()
        self._workers: list[HostedWorker] = []
        self._understudies: list[Understudy] = []
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def hire(self, options: WorkerOptions) -> None:
        """Opens a worker with these options."""
        seams = Seams(
            clock=lambda: self._clock,
            flush=self._flush,
            executor=self._understudy,
            commit=self._flush.commit,
            companions=self._schedules,
            # What a project is deployed with may be no good for its tests: a lane, a priority that is left to others.
            sources=False,
            # Where time stands still, nothing is about to be due.
            foresees=False,
        )
        merged: WorkerOptions = {**_OPTIONS, **options}
        self._workers.append(await self._stack.enter_async_context(self._app.worker(seams=seams, **merged)))

    def _understudy(self, **limits: Any) -> Understudy:
        made = Understudy(self._fakes, self._clock.now, **limits)
        self._understudies.append(made)
        return made

    def check(self) -> None:
        """Raises what one of them has failed with."""
        for hosted in self._workers:
            if hosted.worker is not None and hosted.worker.failure is not None:
                raise hosted.worker.failure

    def time_moved(self, at: datetime) -> None:
        """It is ``at`` now."""
        self._clock.observe(at)
        for understudy in self._understudies:
            understudy.time_moved()
        for tenure in self._tenures():
            tenure.time_moved(at)
        for hosted in self._workers:
            if hosted.scheduler is not None:
                hosted.scheduler.look()

    def look_around(self) -> None:
        """There is something to be done that they may not have heard of."""
        for tenure in self._tenures():
            tenure.look_around()
        for hosted in self._workers:
            if hosted.scheduler is not None:
                hosted.scheduler.look()

    def stillness(self) -> Stillness | None:
        """What they wait for; None while something is under way."""
        held: set[UUID] = set()
        moments = [expires for understudy in self._understudies for expires in understudy.expiries()]
        done = 0
        for hosted in self._workers:
            tenure = None if hosted.worker is None else hosted.worker.tenure
            still = None if tenure is None else tenure.stillness(self._hangs)
            if still is None or (hosted.scheduler is not None and not hosted.scheduler.idle):
                return None
            held |= still.runs.keys()
            moments += still.runs.values()
            done += still.done
        return Stillness(frozenset(held), min((one for one in moments if one < FOREVER_AWARE), default=None), done)

    def at_work(self) -> list[str]:
        """What they are executing, in words."""
        return [words for understudy in self._understudies for words in understudy.at_work()]

    def _hangs(self, attempt: Any) -> bool:
        return any(understudy.hangs(attempt) for understudy in self._understudies)

    def _tenures(self) -> list[Tenure]:
        return [hosted.worker.tenure for hosted in self._workers if hosted.worker and hosted.worker.tenure]
