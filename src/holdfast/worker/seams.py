"""Where a test takes the place of a part of a worker: its clock, the call that flushes, what starts attempts."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from holdfast.worker.clock import DatabaseClock
from holdfast.worker.executor import Executor

if TYPE_CHECKING:
    from holdfast.core.seal import Seal
    from holdfast.store import work
    from holdfast.store.session import Session


class Flush(Protocol):
    """What a group commit calls to have its writes made."""

    async def __call__(
        self, session: Session, identity: work.Identity, writes: Iterable[work.Writes], /, *, wait: bool, again: bool
    ) -> work.Flushed:
        """As :func:`holdfast.store.work.flush`."""
        ...


class MakeExecutor(Protocol):
    """What makes the executor of a tenure."""

    def __call__(
        self, *, max_activities: int, max_threads: int, max_processes: int, seal: Seal, relieved: Callable[[], None]
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


USUAL = Seams()
