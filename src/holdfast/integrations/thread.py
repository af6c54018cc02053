"""Libraries that block: in a thread of one's own, for those whose connections belong to one, or in any."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, asynccontextmanager
from typing import Any, TypeVar

T = TypeVar("T")

log = logging.getLogger("holdfast.integrations")


@asynccontextmanager
async def in_thread(block: AbstractContextManager[object]) -> AsyncGenerator[None]:
    """A block of a library that blocks, entered and left in threads that nobody waits for."""
    await asyncio.to_thread(block.__enter__)
    try:
        yield
    except BaseException as error:
        await asyncio.to_thread(block.__exit__, type(error), error, None)
        raise
    await asyncio.to_thread(block.__exit__, None, None, None)


class OwnThread:
    """Does one thing after the other, always in the same thread, which begins with the first."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="holdfast-transaction")
        self.ended = False

    async def do(self, fn: Callable[[], T]) -> T:
        """What ``fn`` gives, called in the thread with the context of here. Who is cancelled does not stop it."""
        return await self._begin(fn)

    async def do_last(self, fn: Callable[[], object]) -> None:
        """The same, and nothing after it; its error is of no use to anybody. Where it has ended, nothing happens."""
        if self.ended:
            return
        last = self._begin(fn)
        self.ended = True
        self._pool.shutdown(wait=False)
        try:
            await last
        except Exception as error:
            log.debug("a connection could not be closed in order: %s", error)

    def _begin(self, fn: Callable[[], T]) -> asyncio.Future[T]:
        context = contextvars.copy_context()
        return asyncio.get_running_loop().run_in_executor(self._pool, context.run, fn)


class ThreadedCode:
    """What transactions have in common whose connection blocks: the code of the activity is called in their thread."""

    def __init__(self, thread: OwnThread, connection: Any) -> None:
        self._thread = thread
        self._connection = connection
        self.busy = False

    async def run(self, fn: Callable[..., Any], args: Sequence[object], kwargs: Mapping[str, object]) -> Any:
        """What the function gives, in the thread; ``busy`` until it has returned."""

        def call() -> Any:
            try:
                return fn(self._connection, *args, **kwargs)
            finally:
                self.busy = False

        self.busy = True
        return await self._thread.do(call)
