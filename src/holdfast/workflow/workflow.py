"""Workflows: deterministic functions that call activities, sleep and wait."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

from holdfast.core.definition import Definition
from holdfast.core.errors import DefinitionError, ForbiddenInWorkflow
from holdfast.core.states import RunKind
from holdfast.workflow.current import current_loop

P = ParamSpec("P")
R = TypeVar("R")


class Workflow(Definition[P, R]):
    """An ``async def`` that is executed durably, from its journal: it may be replayed any number of times.

    It runs on a loop of its own, with asyncio as it is. Tasks that are still open when the function returns or raises
    are dropped, silently: await what must be done.

    Args:
        fn: the function itself; also ``.fn``.
        name: under which it is known to clients and workers; that of the function if left out.
        version: a number or a text. Several versions of one name may be registered together: new runs begin with the
            highest, and a run stays with the version that it has begun with.

    Raises:
        DefinitionError: the name, the version or the function cannot be used.
    """

    def __init__(
        self, fn: Callable[P, Coroutine[Any, Any, R]], *, name: str | None = None, version: int | str | None = None
    ) -> None:
        given = getattr(fn, "__name__", "") if name is None else name
        super().__init__(fn, name=given, kind=RunKind.WORKFLOW, version=version)
        if not self.is_async:
            raise DefinitionError(f"{self.what} is not async: write it as `async def`, and what blocks as activities")

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
