"""Workflows: deterministic functions that call activities, sleep and wait."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar, overload

from holdfast.core.definition import Definition
from holdfast.core.errors import DefinitionError, ForbiddenInWorkflow
from holdfast.core.states import RunKind
from holdfast.workflow.current import current_loop

P = ParamSpec("P")
R = TypeVar("R")


class Workflow(Definition[P, R]):
    """A function that is executed durably, from its journal: it may be replayed any number of times.

    It runs on a loop of its own, with asyncio as it is. Tasks that are still open when the function returns or raises
    are dropped, silently: await what must be done. A function that is not async runs there too, and says ``wait(...)``
    where an async one awaits; it needs the extra ``sync``.

    Args:
        fn: the function itself; also ``.fn``.
        name: under which it is known to clients and workers; that of the function if left out.
        version: a number or a text. Several versions of one name may be registered together: new runs begin with the
            highest, and a run stays with the version that it has begun with.

    Raises:
        DefinitionError: the name, the version or the function cannot be used.
    """

    @overload
    def __init__(
        self, fn: Callable[P, Coroutine[Any, Any, R]], *, name: str | None = None, version: int | str | None = None
    ) -> None: ...
    @overload
    def __init__(self, fn: Callable[P, R], *, name: str | None = None, version: int | str | None = None) -> None: ...
    def __init__(self, fn: Callable[P, Any], *, name: str | None = None, version: int | str | None = None) -> None:
        given = getattr(fn, "__name__", "") if name is None else name
        super().__init__(fn, name=given, kind=RunKind.WORKFLOW, version=version)
        self.execute: Callable[P, Coroutine[Any, Any, R]] = self.fn if self.is_async else self._in_strands()
        """What makes the coroutine of a run."""

    def _in_strands(self) -> Callable[P, Coroutine[Any, Any, R]]:
        try:
            from holdfast.workflow.strand import execute
        except ImportError as error:
            raise DefinitionError(
                f"{self.what} is not async, which needs greenlet: write it as `async def`, or install the extra: "
                f"pip install 'holdfast[sync]' ({error})"
            ) from error
        fn = self.fn

        def in_strand(*args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]:
            return execute(fn, args, kwargs)

        return in_strand

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[object, object, R]:
        del args, kwargs
        if current_loop() is not None:
            raise ForbiddenInWorkflow(
                f"{self.what} was called in workflow code: start it through a client in an activity, or call its "
                "function with .fn() as a part of this run"
            )
        raise DefinitionError(
            f"{self.what} was called like a function: start it with `await client.start(...)`, so that a worker runs "
            "it durably; .fn() is the function itself, for tests"
        )
