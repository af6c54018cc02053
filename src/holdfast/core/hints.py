"""The annotations of a function, resolved to types."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import FrameType, FunctionType
from typing import Any

from holdfast.core.errors import DefinitionError


@dataclass(frozen=True, slots=True, kw_only=True)
class Hints:
    """What a function's annotations mean. What is not annotated is ``Any``: plain JSON."""

    annotations: Mapping[str, Any]
    """By the names of the parameters, and ``return``."""
    namespace: Mapping[str, Any]
    """The names that can be seen from the function, beside those of its module: for what its types refer to."""

    @classmethod
    def of(cls, fn: Callable[..., object], *, what: str, without: str | None = None) -> Hints:
        """The hints of ``fn``, also under ``from __future__ import annotations`` and with types made in a function.

        Those of the parameter ``without`` are left out, and need not be found.

        Raises:
            DefinitionError: an annotation names what cannot be found.
        """
        annotated = _annotated(fn)
        namespace = _visible_names(annotated)
        if without is not None:
            annotated = _bare(annotated, without)
        try:
            annotations = typing.get_type_hints(annotated, localns=namespace, include_extras=True)
        except NameError as error:
            raise DefinitionError(
                f"{what}: an annotation names {error.name or str(error)!r}, which cannot be found from there; "
                "import or define it in the module, and not under `if TYPE_CHECKING:`"
            ) from error
        except Exception as error:
            raise DefinitionError(f"{what}: its annotations cannot be read: {error}") from error
        return cls(annotations=annotations, namespace=namespace)

    @property
    def returned(self) -> Any:
        """The annotation of the result; ``None`` where there never is one."""
        returned = self.annotations.get("return", Any)
        return None if returned in (typing.NoReturn, typing.Never) else returned


def _annotated(fn: Callable[..., object]) -> Callable[..., object]:
    """What carries the annotations: the function itself, or the ``__call__`` or ``__init__`` of what is called."""
    if isinstance(fn, partial):
        return _annotated(fn.func)
    if inspect.isroutine(fn):
        return fn
    owner, name = (fn, "__init__") if isinstance(fn, type) else (type(fn), "__call__")
    method: Callable[..., object] = getattr(owner, name)
    return method


def annotation_of(fn: Callable[..., object], parameter: str) -> Any:
    """What a parameter is annotated with: resolved where it can be, else the text that stands there; None: nothing."""
    annotated = _annotated(fn)
    annotation: Any = inspect.get_annotations(annotated).get(parameter)
    if not isinstance(annotation, str):
        return annotation
    names = {**getattr(annotated, "__globals__", {}), **_visible_names(annotated)}
    try:
        return eval(annotation, names)  # noqa: S307 - the user's own annotation, as typing.get_type_hints reads it
    except Exception:
        # Imported for type checkers only, for example.
        return annotation


def _bare(fn: Callable[..., object], parameter: str) -> Callable[..., object]:
    """The same function without the annotation of one parameter."""
    function: Any = getattr(fn, "__func__", fn)
    if not isinstance(function, FunctionType):
        return fn
    bare = FunctionType(function.__code__, function.__globals__, function.__name__, None, function.__closure__)
    bare.__annotations__ = {name: one for name, one in function.__annotations__.items() if name != parameter}
    return bare


def _visible_names(fn: Callable[..., object]) -> dict[str, Any]:
    """The locals of the functions that ``fn`` is just being defined in, and its closure."""
    function = inspect.unwrap(fn)
    function = getattr(function, "__func__", function)
    names: dict[str, Any] = {}
    module = getattr(function, "__globals__", None)
    qualname: str = getattr(function, "__qualname__", "")
    for frame in _callers():
        code = frame.f_code
        encloses = qualname.startswith((f"{code.co_qualname}.<locals>.", f"{code.co_qualname}."))
        if frame.f_globals is module and encloses:
            # The nearest frame comes first and wins.
            names = {**frame.f_locals, **names}
    free = getattr(getattr(function, "__code__", None), "co_freevars", ())
    for name, cell in zip(free, getattr(function, "__closure__", None) or (), strict=False):
        try:
            names[name] = cell.cell_contents
        except ValueError:
            # Not assigned yet, so nothing can refer to it now.
            continue
    return names


def _callers() -> list[FrameType]:
    frames: list[FrameType] = []
    frame = inspect.currentframe()
    while frame is not None:
        frames.append(frame)
        frame = frame.f_back
    return frames
