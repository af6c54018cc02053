"""What a worker opens once, and closes when it stops: pools, clients, models."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from holdfast.core.errors import DefinitionError, ResourceClosed

T = TypeVar("T")


@dataclass(slots=True)
class _Opened(Generic[T]):
    """One opening of a resource, by one worker."""

    value: T


class Resource(Generic[T]):
    """What a function under ``@app.lifespan`` opens; ``value`` is usable in the activities of a worker.

    Each worker opens it once, when it starts, in the order of the code, and closes it after the last activity has
    ended, in reverse. Workers in one process each have their own.

    Raises:
        DefinitionError: the function is neither an async generator function nor gives an async context manager.
    """

    def __init__(self, fn: Callable[[], Any]) -> None:
        self.name: str = getattr(fn, "__name__", type(fn).__name__)
        self.__doc__ = fn.__doc__
        self._factory: Callable[[], AbstractAsyncContextManager[T]] = _as_factory(fn, self.name)
        # Activities inherit the context of the worker that runs them, in threads too.
        self._here: ContextVar[_Opened[T] | None] = ContextVar(f"holdfast resource {self.name}", default=None)
        self._open: list[_Opened[T]] = []

    @property
    def value(self) -> T:
        """What was opened.

        Raises:
            ResourceClosed: no worker has it open here.
        """
        mine = self._here.get()
        if mine is not None and mine in self._open:
            return mine.value
        if len(self._open) == 1:
            # Asked from a callback or thread that did not inherit the worker's context; there is only one to mean.
            return self._open[0].value
        raise ResourceClosed(
            f"the resource {self.name!r} is not open here: a worker opens it for its activities; "
            "a client, and code at import, has none"
        )

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[None]:
        """For the worker: open inside the block."""
        async with self._factory() as value:
            opened = _Opened(value)
            self._open.append(opened)
            self._here.set(opened)
            try:
                yield
            finally:
                self._open = [other for other in self._open if other is not opened]

    def __repr__(self) -> str:
        return f"<resource {self.name!r}>"


def _as_factory(fn: Callable[[], Any], name: str) -> Callable[[], AbstractAsyncContextManager[Any]]:
    needed = [
        parameter.name
        for parameter in inspect.signature(fn).parameters.values()
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]
    if needed:
        raise DefinitionError(f"the lifespan {name!r} is called without arguments, and it needs {', '.join(needed)}")
    if inspect.isasyncgenfunction(fn):
        return asynccontextmanager(fn)
    if inspect.iscoroutinefunction(fn) or inspect.isgeneratorfunction(fn):
        raise DefinitionError(
            f"the lifespan {name!r} has to open and close: write `async def` with one `yield`, "
            "or give a function that returns an async context manager"
        )
    return fn
