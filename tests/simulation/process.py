"""A simulated process: event loops, connections, and a life that may end between any two of its steps."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from tests.simulation.loop import SimulatedLoop, SimulatedTask

if TYPE_CHECKING:
    from tests.simulation.connection import SimulatedConnection
    from tests.simulation.world import World

_BREATH = 0.5
"""Seconds in which a loop that is blocked again and again hears of all that has happened meanwhile."""
Main = Callable[["Process"], Coroutine[Any, Any, None]]


class Process:
    """Runs ``main`` on a loop of its own, and what that puts beside it on others."""

    def __init__(self, world: World, name: str, main: Main, *, skew: float = 0.0, mortal: bool = False) -> None:
        self.world = world
        self.name = name
        self.mortal = mortal
        """Whether it may be killed."""
        self.skew = skew
        """Seconds by which its wall clock is wrong."""
        self.alive = True
        self.connections: dict[SimulatedConnection, None] = {}
        self.cut_off = False
        """Whether no network is there for it."""
        self.worker: Any = None
        """The worker in it, if there is one."""
        self.died: Callable[[], None] | None = None
        """Called when it was killed."""
        self.disturbed_at = float("-inf")
        """When something was last done to it for which it may lose its lease."""
        self.blocked_at = float("-inf")
        """When its main loop began to stand still for the last time."""
        self.loops: list[SimulatedLoop] = []
        self.loop = self.open_loop("")
        self.main = self.loop.create_task(main(self), name=name)

    def open_loop(self, name: str) -> SimulatedLoop:
        """One more loop, as of a thread."""
        loop = SimulatedLoop(self.world, f"{self.name}{name}")
        loop.process = self
        self.loops.append(loop)
        return loop

    @property
    def running(self) -> bool:
        """Whether it has neither been killed nor ended."""
        return self.alive and not self.main.done()

    def kill(self) -> None:
        """It is gone, in the middle of whatever it did; the server notices."""
        if not self.alive:
            return
        self.world.befall(self.name, "is killed")
        self.end()
        if self.died is not None:
            self.died()

    def end(self) -> None:
        """Nothing of it goes on."""
        self.alive = False
        for loop in self.loops:
            loop.kill()
        for connection in list(self.connections):
            connection.lose()

    def freeze(self, seconds: float) -> None:
        """All of it stands still for so long, as after SIGSTOP."""
        self.world.befall(self.name, "stands still", f" for {seconds:.3f} s")
        self._hold(self.loops, seconds)
        self.disturb(seconds)

    def disturb(self, seconds: float) -> None:
        """What may cost it its lease goes on for so long."""
        self.disturbed_at = max(self.disturbed_at, self.world.now + seconds)

    def block(self, seconds: float) -> None:
        """Its main loop stands still for so long, as when a handler blocks it; what is beside it goes on."""
        self.world.befall(self.name, "is blocked", f" for {seconds:.3f} s")
        if self.loop.awake_at <= self.world.now - _BREATH:
            self.blocked_at = self.world.now
        self._hold(self.loops[:1], seconds)

    def _hold(self, loops: list[SimulatedLoop], seconds: float) -> None:
        until = self.world.now + seconds
        for loop in loops:
            loop.awake_at = max(loop.awake_at, until)
        self.world.at(until, _nothing)

    def cut(self) -> None:
        """All its connections are cut."""
        self.world.befall(self.name, "loses its connections")
        for connection in list(self.connections):
            connection.lose()


class SimulatedBeside:
    """What runs beside the loop of a process: another loop of it, in the place of a thread."""

    def __init__(self, process: Process, name: str) -> None:
        self._process = process
        self._main = asyncio.get_running_loop()
        self._loop = process.open_loop(f" {name.removeprefix('holdfast ')}")
        self._roused = False
        self._resting: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._task = self._loop.create_task(work())

    def rouse(self) -> None:
        if not self._loop.dead:
            self._loop.call_soon(self._rouse)

    def _rouse(self) -> None:
        self._roused = True
        if self._resting is not None and not self._resting.done():
            self._resting.set_result(None)

    async def rest(self, seconds: float) -> None:
        if not self._roused:
            self._resting = self._loop.create_future()
            timer = self._loop.call_later(max(0.0, seconds), self._over, self._resting)
            await self._resting
            timer.cancel()
        self._roused = False

    @staticmethod
    def _over(resting: asyncio.Future[None]) -> None:
        if not resting.done():
            resting.set_result(None)

    async def end(self, patience: float) -> None:
        if self._task is None:
            return
        ended = self._main.create_future()

        def over(_: object = None) -> None:
            if not ended.done():
                ended.set_result(None)

        def tell(_: object) -> None:
            if not self._process.loop.dead:
                self._main.call_soon_threadsafe(over)

        self._loop.call_soon(self._task.add_done_callback, tell)
        timer = self._main.call_later(patience, over)
        await ended
        timer.cancel()


def _nothing() -> None:
    """A moment at which somebody wakes."""


def tasks_of(process: Process) -> list[SimulatedTask[Any]]:
    """All that it has ever begun."""
    return [task for loop in process.loops for task in loop.tasks]
