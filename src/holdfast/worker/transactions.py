"""The transactional activities of a worker: so many at once, each on a connection of its library."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any

from holdfast.worker.atomic import Atomic
from holdfast.workflow.attempted import current_activity

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.core.errors import WorkerFenced
    from holdfast.core.seal import Seal
    from holdfast.integrations.library import Library, Source
    from holdfast.store.link import Link
    from holdfast.store.statements import Statements
    from holdfast.store.work import Flushed, Identity
    from holdfast.worker.attempt import Attempt
    from holdfast.worker.seams import Commit

log = logging.getLogger("holdfast.worker")


class Transactions:
    """Runs transactional attempts, at most ``most`` at once; those beyond wait in line."""

    def __init__(
        self,
        dsn: str,
        statements: Statements,
        link: Link,
        seal: Seal,
        *,
        name: str,
        most: int,
        lease: float,
        commit: Commit | None,
        fenced: Callable[[WorkerFenced], None],
        doubted: Callable[[], None],
        told: Callable[[Flushed], None],
        relieved: Callable[[], None],
    ) -> None:
        self.link = link
        """Where what became of a commit is asked."""
        self.seal = seal
        self.name = name
        self.lease = lease
        self.commit = commit
        self.fenced = fenced
        self.doubted = doubted
        self.told = told
        self._dsn = dsn
        self._statements = statements
        self._most = most
        self._relieved = relieved
        self._loop = asyncio.get_running_loop()
        self._identity: Identity | None = None
        self._sources: dict[Library, Source] = {}
        self._line: deque[Attempt] = deque()
        self.running: set[Attempt] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._closed = False

    def register(self, identity: Identity) -> None:
        """Whose transactions these are."""
        self._identity = identity

    @property
    def identity(self) -> Identity:
        """Whose they are."""
        assert self._identity is not None
        return self._identity

    @property
    def crowded(self) -> bool:
        """Whether more is in line than runs."""
        return len(self._line) > self._most

    @property
    def has_place(self) -> bool:
        """Whether an attempt would begin at once."""
        return not self._line and len(self.running) < self._most

    def start(self, attempt: Attempt) -> None:
        """Runs the attempt as soon as it may."""
        self._line.append(attempt)
        self._fill()

    async def close(self) -> None:
        """Drops all that is under way; what the database has not committed yet it never will."""
        self._closed = True
        self._line.clear()
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=2.0)
        for source in self._sources.values():
            await source.close()
        await self.link.close()

    def keep(self, task: asyncio.Task[Any]) -> None:
        """Cancels the task at the end, if it is not done by then."""
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def source(self, library: Library) -> Source:
        """Where the transactions of this library come from."""
        source = self._sources.get(library)
        if source is None:
            application = f"holdfast transactions {self.name}"
            source = library.source(self._dsn, self._statements, application=application, size=self._most)
            self._sources[library] = source
        return source

    def _fill(self) -> None:
        while self._line and len(self.running) < self._most and not self._closed:
            attempt = self._line.popleft()
            if attempt.abandoned:
                continue
            self.running.add(attempt)
            attempt.started = time.monotonic()
            task = self._loop.create_task(self._execute(attempt), name=f"holdfast transaction {attempt.key}")
            attempt.task = task
            self.keep(task)
            task.add_done_callback(partial(self._left, attempt))

    async def _execute(self, attempt: Attempt) -> None:
        current_activity.set(attempt)
        await Atomic(self, attempt).run()

    def _left(self, attempt: Attempt, task: asyncio.Task[None]) -> None:
        attempt.task = None
        self.running.discard(attempt)
        if not task.cancelled() and task.exception() is not None:
            log.error("a transactional activity went wrong", exc_info=task.exception())
        self._fill()
        self._relieved()
