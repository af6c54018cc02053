"""What workflows and activities have in common: a name, a function, and how its values are written and read."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar

from holdfast.core.errors import DefinitionError
from holdfast.core.hints import Hints
from holdfast.core.parameters import Parameters
from holdfast.core.returns import Returns
from holdfast.core.states import RunKind
from holdfast.core.version import MARK, checked_version, task_name

if TYPE_CHECKING:
    from holdfast.core.limit import Ticket

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)

_LONGEST_NAME = 200


class Definition(Generic[P, R]):
    """A function that runs can be made of, known under ``name``; its parameters and result are fit to be stored.

    The parameter ``without`` is none of those: it is passed by who calls the function.

    Raises:
        DefinitionError: the name or the function cannot be used; the message says which part of it, and why.
    """

    name: str
    version: str | None
    """Of a workflow: which of several that have its name."""
    task_name: str
    """What tasks call it: its name, with its version if it has one."""
    kind: RunKind
    fn: Callable[P, Any]
    is_async: bool
    """Whether ``fn`` is an ``async def``."""
    parameters: Parameters
    returns: Returns[R]
    tickets: tuple[Ticket, ...] = ()
    """Its limits."""

    def __init__(
        self,
        fn: Callable[..., Any],
        *,
        name: str,
        kind: RunKind,
        version: int | str | None = None,
        without: str | None = None,
    ) -> None:
        self.kind = kind
        self.name = self.task_name = _checked_name(name, kind)
        self.version = checked_version(version, self.what)
        self.task_name = task_name(name, self.version)
        self.fn = _checked_function(fn, self.what)
        self.is_async = _is_coroutine_function(fn)
        hints = Hints.of(fn, what=self.what, without=without)
        self.parameters = Parameters(fn, what=self.what, hints=hints, without=without)
        self.returns = Returns(hints.returned, what=f"the result of {self.what}", namespace=hints.namespace)
        for attribute in ("__module__", "__name__", "__qualname__", "__doc__"):
            if hasattr(fn, attribute):
                setattr(self, attribute, getattr(fn, attribute))

    @property
    def what(self) -> str:
        """How messages call it: ``workflow 'trial-onboarding'``."""
        return f"{self.kind.name.lower()} {self.task_name!r}"

    @property
    def description(self) -> str:
        """The first paragraph of the function's docstring, on one line; empty without one."""
        return " ".join((inspect.getdoc(self.fn) or "").partition("\n\n")[0].split())

    def call(self, *args: P.args, **kwargs: P.kwargs) -> Call[R]:
        """These arguments for this function: bound and typed, but not checked and not started."""
        return Call(definition=self, args=args, kwargs=kwargs)

    def __repr__(self) -> str:
        return f"<{self.what}>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Call(Generic[R_co]):
    """A definition and the arguments to start it with."""

    definition: Definition[..., R_co]
    args: tuple[object, ...] = ()
    kwargs: Mapping[str, object] = field(default_factory=dict[str, object])


def _checked_name(name: str, kind: RunKind) -> str:
    problem = None
    if not name or name != name.strip():
        problem = "is empty or begins or ends with a space"
    elif len(name) > _LONGEST_NAME:
        problem = f"is longer than {_LONGEST_NAME} characters"
    elif not name.isprintable():
        problem = "contains a character that cannot be printed"
    elif "#" in name:
        problem = "contains '#', which separates name and number in the keys of a journal"
    elif MARK in name:
        problem = f"contains {MARK!r}, which separates the name of a workflow from its version"
    if problem:
        raise DefinitionError(f"the name {name!r} for a {kind.name.lower()} {problem}")
    return name


def _checked_function(fn: Callable[..., Any], what: str) -> Callable[..., Any]:
    if isinstance(fn, Definition):
        raise DefinitionError(f"{what}: this function is registered already, as {fn.what}; register its .fn instead")
    if isinstance(fn, staticmethod | classmethod) or not callable(fn):
        raise DefinitionError(f"{what}: {fn!r} is not a function; decorate functions of a module")
    if inspect.isgeneratorfunction(fn) or inspect.isasyncgenfunction(fn):
        raise DefinitionError(
            f"{what}: a function with `yield` has no single result that could be recorded; use return"
        )
    return fn


def _is_coroutine_function(fn: Callable[..., object]) -> bool:
    # The second look is for objects with an `async def __call__`.
    return inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(type(fn).__call__)
