"""What a process takes for granted, simulated: the time, randomness, and how one connects to a database."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import random
import secrets
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import asyncpg

from tests.simulation.connection import SimulatedPool
from tests.simulation.loop import SimulatedLoop
from tests.simulation.world import BEGINNING

if TYPE_CHECKING:
    from tests.simulation.server import Server
    from tests.simulation.world import World


class Nature:
    """For as long as the block lasts, this process lives in the world."""

    def __init__(self, world: World, server: Server) -> None:
        self._world = world
        self._server = server
        self._bytes = random.Random(f"{world.chance.random()}")
        self._was: list[tuple[Any, str, Any]] = []
        self._state = random.getstate()
        self._log = logging.getLogger("holdfast")
        self._listening = Listening(world)
        self._level = self._log.level

    def __enter__(self) -> Self:
        for name in ("monotonic", "perf_counter"):
            self._put(time, name, self._boot_time)
        self._put(time, "clock_gettime", self._boot_time)
        self._put(time, "time", self._time)
        self._put(time, "time_ns", lambda: round(self._time() * 1_000_000) * 1000)
        self._put(os, "urandom", self._bytes.randbytes)
        self._put(secrets, "token_hex", lambda size=32: self._bytes.randbytes(size).hex())
        self._put(asyncpg, "connect", self._connecting(asyncpg.connect))
        self._put(asyncpg, "create_pool", self._create_pool)
        random.seed(self._bytes.random())
        self._put(self._log, "propagate", False)
        self._log.setLevel(logging.INFO)
        self._log.addHandler(self._listening)
        gc.disable()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for place, name, value in reversed(self._was):
            setattr(place, name, value)
        random.setstate(self._state)
        self._log.removeHandler(self._listening)
        self._log.setLevel(self._level)
        gc.enable()

    def _put(self, place: Any, name: str, value: Any) -> None:
        self._was.append((place, name, getattr(place, name)))
        setattr(place, name, value)

    def _boot_time(self, _clock: int = 0) -> float:
        return self._world.now

    def _time(self) -> float:
        current = self._world.current
        skew = 0.0 if current is None or current.process is None else current.process.skew
        return BEGINNING.timestamp() + self._world.now + skew

    def _connecting(self, really: Any) -> Any:
        async def connect(dsn: str, *, server_settings: dict[str, str] | None = None, **options: Any) -> Any:
            loop = asyncio.get_running_loop()
            if not isinstance(loop, SimulatedLoop):
                return await really(dsn, server_settings=server_settings, **options)
            assert loop.process is not None
            return await self._server.connect(loop.process, (server_settings or {})["application_name"])

        return connect

    async def _create_pool(self, dsn: str, *, max_size: int, server_settings: dict[str, str], **_: Any) -> Any:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SimulatedLoop)
        assert loop.process is not None
        return SimulatedPool(self._server, loop.process, server_settings["application_name"], max_size)


class Listening(logging.Handler):
    """What the engine says in its log: a line of the trace; what it did not expect is wrong."""

    def __init__(self, world: World) -> None:
        super().__init__(logging.INFO)
        self._world = world

    def emit(self, record: logging.LogRecord) -> None:
        current = self._world.current
        who = "log" if current is None or current.process is None else current.process.name
        said = record.getMessage().splitlines()[0]
        self._world.note(who, f"says: {said}")
        if record.levelno >= logging.ERROR:
            error = record.exc_info[1] if record.exc_info else None
            self._world.blame(f"{who} says: {said}{'' if error is None else f': {error!r}'}")
