"""A project with `yard:app`, and the commands that are started in it as processes."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress
from pathlib import Path

import psutil

from holdfast.client import Client
from tests.house import House, eventually
from tests.nursery import Forked, fork

APP = '''
import asyncio
import os
import time
from pathlib import Path

from holdfast import App

app = App()


@app.activity
def stand_still(name: str) -> int:
    """Says that it has begun, and goes on until it may end."""
    Path(f"{name}-{os.getpid()}.begun").touch()
    while not Path(f"{name}.end").exists():
        time.sleep(0.01)
    return os.getpid()


@app.activity
async def hold_up(name: str) -> int:
    """The same on the event loop, which stands still meanwhile."""
    return stand_still.fn(name)


@app.activity
async def which_loop() -> str:
    return type(asyncio.get_running_loop()).__module__
'''


class Command:
    """A `holdfast worker` that runs."""

    def __init__(self, process: Forked, log: Path) -> None:
        self.process = process
        self._log = log

    @property
    def log(self) -> str:
        return self._log.read_text()

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def exit(self) -> int:
        async with asyncio.timeout(20):
            return await self.process.wait()


class Yard:
    """A project with `yard:app`, and the commands that are started in it."""

    def __init__(self, place: Path, house: House, client: Client) -> None:
        self.place = place
        self.house = house
        self.client = client
        self._commands: list[Command] = []

    async def worker(self, *options: str, word: str | None = None) -> Command:
        log = self.place / f"{len(self._commands)}.log"
        log.touch()
        process = await fork(
            ["worker", *([word] if word else []), "--app", "yard:app", "--skip-warm-up", *options],
            env={**os.environ, "HOLDFAST_DATABASE_URL": self.house.dsn, "PYTHONPATH": str(self.place)},
            cwd=self.place,
            log=log,
        )
        self._commands.append(Command(process, log))
        return self._commands[-1]

    async def begun(self, name: str, count: int = 1) -> list[int]:
        """Waits until the activity has begun so often, and gives the processes that it did in."""

        def pids() -> list[int]:
            return [int(file.stem.rpartition("-")[2]) for file in self.place.glob(f"{name}-*.begun")]

        await eventually(lambda: len(pids()) >= count, f"{name} has begun {count} times")
        return pids()

    def may_end(self, name: str) -> None:
        (self.place / f"{name}.end").touch()

    async def alive(self, count: int) -> None:
        await self.house.until(
            "select count(*) = $1 from holdfast.worker where state = 'active' and lease_until > clock_timestamp()",
            count,
        )

    async def close(self) -> None:
        for command in self._commands:
            if command.process.returncode is None:
                with suppress(psutil.NoSuchProcess, ProcessLookupError):
                    for child in psutil.Process(command.process.pid).children(recursive=True):
                        child.kill()
                    command.process.kill()
                await command.process.wait()
