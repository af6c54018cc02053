"""Where a test takes the place of a part of a worker: its clock, what flushes and commits, what starts attempts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from holdfast.worker.beside import Beside, OwnThread
from holdfast.worker.clock import DatabaseClock
from holdfast.worker.executor import Executor

if TYPE_CHECKING:
    from holdfast.core.seal import Seal
    from holdfast.store import work
    from holdfast.store.session import Session
    from holdfast.store.writes import Writes
    from holdfast.worker.held import Unit
    from holdfast.worker.transactions import Transactions


class Flush(Protocol):
    """What a group commit calls to have its writes made."""

    async def __call__(
        self, session: Session, identity: work.Identity, writes: Iterable[Writes], /, *, wait: bool, again: bool
    ) -> work.Flushed:
        """As :func:`holdfast.store.work.flush`."""
        ...


class Commit(Protocol):
    """What a transactional activity commits with."""

    async def __call__(self, unit: Unit, identity: work.Identity, commit: Callable[[], Awaitable[None]], /) -> None:
        """Awaits ``commit``; ``unit`` is what becomes durable with it."""
        ...


class MakeExecutor(Protocol):
    """What makes the executor of a tenure."""

    def __call__(
        self,
        *,
        max_activities: int,
        max_threads: int,
        max_processes: int,
        transactions: Transactions,
        seal: Seal,
        relieved: Callable[[], None],
    ) -> Executor: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Seams:
    """The parts that a test may bring itself; each is the usual one by default."""

    clock: Callable[[], DatabaseClock] = DatabaseClock
    flush: Flush | None = None
    """None: :func:`holdfast.store.work.flush`."""
    executor: MakeExecutor = Executor
    companions: bool = True
    """Whether other engines run beside the worker: those that look at the clock by themselves."""
    sources: bool = True
    """Whether settings that are not given come from the environment and the project's files."""
    foresees: bool = True
    """Whether runs are taken before their time."""
    commit: Commit | None = None
    """None: it commits."""
    beside: Callable[[str], Beside] = OwnThread
    """What leases are renewed on, by its name."""


USUAL = Seams()
