"""A simulated event loop: its time is the world's, and the world says when it calls what is next."""

from __future__ import annotations

import asyncio
from asyncio import events
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context
from typing import TYPE_CHECKING, Any, TypeVar, TypeVarTuple, Unpack

if TYPE_CHECKING:
    from tests.simulation.process import Process
    from tests.simulation.world import World

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class SimulatedTask(asyncio.Task[T]):
    """A task whose place in a set does not depend on where in memory it lies."""

    def __init__(
        self,
        coroutine: Generator[Any, None, T] | Coroutine[Any, Any, T],
        *,
        loop: SimulatedLoop,
        name: str | None = None,
        context: Context | None = None,
    ) -> None:
        self._number = loop.world.number()
        super().__init__(coroutine, loop=loop, name=name, context=context)

    def __hash__(self) -> int:
        return self._number


class SimulatedFuture(asyncio.Future[T]):
    """Likewise a future."""

    def __init__(self, *, loop: SimulatedLoop) -> None:
        self._number = loop.world.number()
        super().__init__(loop=loop)

    def __hash__(self) -> int:
        return self._number


class SimulatedLoop(asyncio.BaseEventLoop):
    """Callbacks in the order in which they came, as on every loop; other loops may come in between any two of them."""

    def __init__(self, world: World, name: str) -> None:
        self.dead = False
        self.ready: deque[asyncio.Handle] = deque()
        super().__init__()
        self.ready.clear()
        self.world = world
        self.name = name
        self.awake_at = 0.0
        """Until then it stands still."""
        self.tasks: dict[SimulatedTask[Any], None] = {}
        """All that were ever made, so that none of them goes before the schedule is over."""
        self.process: Process | None = None
        """Whose it is."""
        world.loops.append(self)

    def call_next(self) -> None:
        """Calls what is next."""
        handle = self.ready.popleft()
        if handle.cancelled():
            return
        events._set_running_loop(self)
        try:
            handle._run()
        finally:
            events._set_running_loop(None)

    def kill(self) -> None:
        """From now on nothing happens here any more."""
        self.dead = True
        self.ready.clear()
        if self in self.world.loops:
            self.world.loops.remove(self)

    # ---- what asyncio asks of a loop

    def time(self) -> float:
        return self.world.now

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return not self.dead

    def is_closed(self) -> bool:
        return self.dead

    def call_soon(
        self, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        if not self.dead:
            self.ready.append(handle)
        return handle

    def call_soon_threadsafe(
        self, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        if self.dead:
            raise RuntimeError("Event loop is closed")
        return self.call_soon(callback, *args, context=context)

    def call_later(
        self,
        delay: float,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, self, context)

        def due() -> None:
            if not self.dead and not handle.cancelled():
                self.ready.append(handle)

        if not self.dead:
            self.world.at(when, due)
        return handle

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """It is passed over when its time comes."""

    def create_future(self) -> asyncio.Future[Any]:
        return SimulatedFuture(loop=self)

    def create_task(
        self,
        coro: Generator[Any, None, T] | Coroutine[Any, Any, T],
        *,
        name: object = None,
        context: Context | None = None,
    ) -> asyncio.Task[T]:
        words = None if name is None else str(name)
        task: SimulatedTask[T] = SimulatedTask(coro, loop=self, name=words, context=context)
        self.tasks[task] = None
        return task

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if not self.dead:
            error = context.get("exception")
            self.world.blame(f"{self.name}: {context.get('message')}: {error!r}")
