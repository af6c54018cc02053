"""Processes that examine seeds, and what they report; however a seed fails, its report says that it was this one."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Generator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.context import SpawnContext, SpawnProcess
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.simulation.laboratory import examine, set_up
from tests.simulation.report import Report

HASHES = "PYTHONHASHSEED"


class _Process(SpawnProcess):
    """Texts in sets have the same order in it as in every other one: so a seed gives the same schedule."""

    def start(self) -> None:
        with _set(HASHES, "0"):
            super().start()


class _Alike(SpawnContext):
    Process = _Process


class Examiners:
    """So many processes, each with a database of its own, for as long as the block lasts.

    Args:
        server: How to connect to a database of the server.
        template: The database that theirs are copies of; made if it is not there.
        broken: The engine that they examine, if it is not the one as it is.
        count: How many.
        examine: What each does with a seed.
    """

    def __init__(
        self,
        server: str,
        *,
        template: str = "holdfast_simulation",
        broken: str | None = None,
        count: int = 1,
        examine: Callable[..., Report] = examine,
    ) -> None:
        self.count = count
        self._examine = examine
        # Says which seed each is at, also when it is gone.
        self._places = tempfile.TemporaryDirectory(prefix="holdfast-simulation-")
        self._pool = ProcessPoolExecutor(count, _Alike(), set_up, (server, template, broken, self._places.name))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._places.cleanup()

    def submit(self, seed: int, *, twice: bool = False) -> Future[Report]:
        """Has it examined; ``result`` says what came of it."""
        try:
            return self._pool.submit(self._examine, seed, twice=twice)
        except BrokenProcessPool as error:
            # One that was examined meanwhile has ended its process.
            failed: Future[Report] = Future()
            failed.set_exception(error)
            return failed

    def result(self, seed: int, examined: Future[Report]) -> Report:
        """The report of this seed, once there is one; also where there is none of its process."""
        try:
            return examined.result()
        except BrokenProcessPool as error:
            seeds = sorted(int(place.read_text() or seed) for place in Path(self._places.name).iterdir()) or [seed]
            others = "" if len(seeds) == 1 else f", or that of seed {' or '.join(map(str, seeds[1:]))},"
            wrong = f"its process{others} has ended in the middle of it: {error}"
            return Report(seed=seeds[0], wrong=[wrong], fell=True)
        except Exception as error:
            return Report(seed=seed, wrong=[f"nothing came of it but {error!r}"], fell=True)

    def examine(self, seed: int, *, twice: bool = False) -> Report:
        """Submits it, and waits."""
        return self.result(seed, self.submit(seed, twice=twice))


@contextmanager
def _set(name: str, value: str) -> Generator[None]:
    """In the environment of what is begun meanwhile."""
    was: Any = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if was is None:
            del os.environ[name]
        else:
            os.environ[name] = was
