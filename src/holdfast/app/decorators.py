"""What the decorators of an app give when they are called with options."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, overload

from holdfast.core.errors import DefinitionError
from holdfast.workflow.activity import Activity
from holdfast.workflow.workflow import Workflow

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


class ActivityDecorator(Protocol):
    """What ``app.activity(...)`` with options gives."""

    @overload
    def __call__(self, fn: Callable[P, Coroutine[Any, Any, R]], /) -> Activity[P, R]: ...
    @overload
    def __call__(self, fn: Callable[P, R], /) -> Activity[P, R]: ...


class TransactionalDecorator(Protocol):
    """What ``app.activity(transactional=True, ...)`` gives: callers do not pass the connection."""

    @overload
    def __call__(self, fn: Callable[Concatenate[Any, P], Coroutine[Any, Any, R]], /) -> Activity[P, R]: ...
    @overload
    def __call__(self, fn: Callable[Concatenate[Any, P], R], /) -> Activity[P, R]: ...


class BatchDecorator(Protocol):
    """What ``app.batch(...)`` gives: callers pass one item, and get the result of that."""

    @overload
    def __call__(self, fn: Callable[[list[T]], Coroutine[Any, Any, None]], /) -> Activity[[T], None]: ...
    @overload
    def __call__(self, fn: Callable[[list[T]], Coroutine[Any, Any, list[R]]], /) -> Activity[[T], R]: ...
    @overload
    def __call__(self, fn: Callable[[list[T]], None], /) -> Activity[[T], None]: ...
    @overload
    def __call__(self, fn: Callable[[list[T]], list[R]], /) -> Activity[[T], R]: ...


class WorkflowDecorator(Protocol):
    """What ``app.workflow(...)`` with options gives."""

    @overload
    def __call__(self, fn: Callable[P, Coroutine[Any, Any, R]], /) -> Workflow[P, R]: ...
    @overload
    def __call__(self, fn: Callable[P, R], /) -> Workflow[P, R]: ...


def name_of(fn: Callable[..., Any]) -> str:
    """The name that a function has by itself.

    Raises:
        DefinitionError: it has none.
    """
    name = getattr(fn, "__name__", None)
    if not isinstance(name, str) or name == "<lambda>":
        raise DefinitionError(f"{fn!r} has no name of its own; give it one with name=")
    return name
