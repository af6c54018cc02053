"""Worker processes that are forked from one that has loaded Holdfast: to load it takes a processor most of a second."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerProcess

_nursery = multiprocessing.get_context("forkserver")
_nursery.set_forkserver_preload(["holdfast.cli.main", "holdfast.embedded", "uvloop"])


class Forked:
    """As much of what asyncio gives for a process as tests need."""

    def __init__(self, process: ForkServerProcess) -> None:
        self._process = process
        assert process.pid is not None
        self.pid = process.pid

    @property
    def returncode(self) -> int | None:
        """Its exit code, or the negative number of the signal that has ended it; None while it runs."""
        return self._process.exitcode

    def send_signal(self, number: signal.Signals) -> None:
        """Sends a signal, if it still runs."""
        if self.returncode is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """``kill -9``, if it still runs."""
        self.send_signal(signal.SIGKILL)

    async def wait(self) -> int:
        """Waits until it is gone, and gives its exit code."""
        if self.returncode is None:
            loop, gone = asyncio.get_running_loop(), asyncio.Event()
            loop.add_reader(self._process.sentinel, gone.set)
            try:
                await gone.wait()
            finally:
                loop.remove_reader(self._process.sentinel)
        self._process.join()
        assert self.returncode is not None
        return self.returncode


async def fork(arguments: Sequence[str], *, env: Mapping[str, str], cwd: Path, log: Path) -> Forked:
    """A process of ``python -m holdfast`` with these arguments, which says what it says into ``log``."""
    process = _nursery.Process(target=_be_holdfast, args=(list(arguments), dict(env), str(cwd), str(log)))
    # The first one waits until the nursery has loaded everything.
    await asyncio.to_thread(process.start)
    return Forked(process)


def _be_holdfast(arguments: list[str], env: dict[str, str], cwd: str, log: str) -> None:
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    nothing = os.open(os.devnull, os.O_RDONLY)
    said = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    for ours, its in ((nothing, 0), (said, 1), (said, 2)):
        os.dup2(ours, its)
    sys.stdin, sys.stdout, sys.stderr = os.fdopen(0), os.fdopen(1, "w", buffering=1), os.fdopen(2, "w", buffering=1)
    sys.argv = ["holdfast", *arguments]
    sys.path[:0] = env["PYTHONPATH"].split(os.pathsep)

    from holdfast.cli.main import main

    main(arguments)
