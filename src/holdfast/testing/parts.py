"""The parts that a worker under test is given in place of its own: see :mod:`holdfast.worker.seams`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from holdfast.worker.clock import DatabaseClock
from holdfast.worker.executor import Executor

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.core.seal import Seal
    from holdfast.testing.fake import Fake
    from holdfast.worker.attempt import Attempt
    from holdfast.worker.transactions import Transactions


_NEVER = datetime.max.replace(tzinfo=UTC)


class StandingClock(DatabaseClock):
    """The clock of a database whose time stands still until it is moved."""

    __slots__ = ()

    def observe(self, at: datetime, asked_at: float | None = None) -> None:
        # An answer that was on its way when the clock was moved brings an earlier time.
        self._at = max(self._at, at)

    def now(self) -> datetime:
        return self._at

    def until(self, moment: datetime) -> float:
        return 0.0 if moment <= self._at else float("inf")


class Understudy(Executor):
    """An executor that calls fakes in the place of the activities that have one."""

    def __init__(
        self,
        fakes: Mapping[str, Fake[..., object]],
        now: Callable[[], datetime],
        *,
        max_activities: int,
        max_threads: int,
        max_processes: int,
        seal: Seal,
        transactions: Transactions,
        relieved: Callable[[], None],
    ) -> None:
        super().__init__(
            max_activities=max_activities,
            max_threads=max_threads,
            max_processes=max_processes,
            seal=seal,
            transactions=transactions,
            relieved=relieved,
        )
        self._fakes = fakes
        self._now = now
        self._open: list[Attempt] = []
        self._hanging: dict[Attempt, _Hanging] = {}

    def start(self, attempt: Attempt, *, limited: bool) -> None:
        fake = self._fakes.get(attempt.activity.name)
        if fake is not None:
            silence = attempt.activity.heartbeat_timeout
            attempt.activity = fake.in_place_of(attempt.activity)
            if fake.hangs:
                limits = [attempt.timeout, None if silence is None else silence.total_seconds()]
                limit = min((one for one in limits if one is not None), default=None)
                self._hanging[attempt] = _Hanging(self._now(), limit)
                attempt.timeout = None  # it passes on the clock that stands still, and on no other
        self._open = [*(one for one in self._open if not one.abandoned), attempt]
        super().start(attempt, limited=limited)

    def hangs(self, attempt: Attempt) -> bool:
        """Whether it will do nothing by itself, until its timeout passes."""
        hanging = self._hanging.get(attempt)
        return hanging is not None and attempt.task is not None and hanging.expires > self._now()

    def expiries(self) -> Iterable[datetime]:
        """When the timeouts of what hangs here pass."""
        return (hanging.expires for attempt, hanging in self._hanging.items() if not attempt.abandoned)

    def time_moved(self) -> None:
        """The clock was moved: of what hangs, that whose timeout has passed ends."""
        for attempt, hanging in list(self._hanging.items()):
            if attempt.abandoned:
                del self._hanging[attempt]
            elif hanging.timeout is not None and hanging.expires <= self._now():
                del self._hanging[attempt]
                attempt.timeout = hanging.timeout
                attempt.finish(attempt.timed_out(hanging.timeout))
                attempt.abandon()

    def at_work(self) -> list[str]:
        """What is being executed here, in words."""
        return [
            f"{attempt.key} of run {attempt.run_id}" + ("" if attempt.workflow is None else f" ({attempt.workflow})")
            for attempt in self._open
            if not self.hangs(attempt) and not attempt.abandoned
        ]


class _Hanging(NamedTuple):
    """An attempt at a fake that hangs: since when, and for how many seconds it may."""

    since: datetime
    timeout: float | None

    @property
    def expires(self) -> datetime:
        return _NEVER if self.timeout is None else self.since + timedelta(seconds=self.timeout)
