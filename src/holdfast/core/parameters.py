"""The parameters of a function: arguments to JSON text and back."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, NoReturn

from pydantic_core import to_json

from holdfast.core.complaint import culprit
from holdfast.core.digest import Order, canonical, digest_of
from holdfast.core.errors import DefinitionError, InvalidInput, Unstorable
from holdfast.core.hints import Hints
from holdfast.core.shape import Shape

_VARIADIC: dict[object, str] = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}


class Encoded(NamedTuple):
    """Arguments as they are stored, and their digest."""

    text: str
    """One JSON object by parameter name."""
    digest: bytes
    """8 bytes; the same for equal arguments in any process. Defaults that were not passed are left out."""


class Parameters:
    """The parameters of ``fn``; ``what`` is how messages call it: ``workflow 'trial-onboarding'``.

    ``without`` is one that the caller does not pass.

    Raises:
        DefinitionError: it takes ``*args`` or ``**kwargs``, or an annotation is of no use.
    """

    def __init__(
        self, fn: Callable[..., object], *, what: str, hints: Hints | None = None, without: str | None = None
    ) -> None:
        self._what = what
        hints = hints or Hints.of(fn, what=what)
        parameters = _parameters(fn, what)
        if without is not None:
            del parameters[without]
        self.names = tuple(parameters)
        """In the order of the signature."""
        self._defaults = {name: one.default for name, one in parameters.items() if one.default is not one.empty}
        self._required = frozenset(name for name, one in parameters.items() if one.default is one.empty)
        self._positional = tuple(name for name, one in parameters.items() if one.kind is not one.KEYWORD_ONLY)
        self._unnamed = tuple(name for name, one in parameters.items() if one.kind is one.POSITIONAL_ONLY)
        self._named = frozenset(self.names) - frozenset(self._unnamed)
        # Arguments are written in the order of their names, so that the text needs no sorting for the digest.
        self._sorted = tuple(sorted(self.names))
        self._presorted = self._sorted == self.names
        self._shape = Shape.of_fields(
            {name: hints.annotations.get(name, Any) for name in self.names},
            required=self._required,
            what=what,
            namespace=hints.namespace,
        )
        order = Order(self._shape.schema)
        self._canonical = order.canonical
        self._unordered = order.unordered

    def encode(self, args: Sequence[object], kwargs: Mapping[str, object]) -> Encoded:
        """These arguments as they are stored; those not passed stay out, also where they have a default.

        Raises:
            InvalidInput: an argument is missing, unknown or of the wrong type; with the path of each offending field.
            Unstorable: an argument is of the right type, but JSON cannot hold it.
        """
        return self._encoded(self._bind(args, kwargs))

    def write(self, args: Sequence[object], kwargs: Mapping[str, object]) -> str:
        """As :meth:`encode`, for where nobody asks for the digest: it costs as much as the writing."""
        return self._written(self._bind(args, kwargs))

    def encode_named(self, values: Mapping[str, object]) -> Encoded:
        """Like :meth:`encode`, for plain JSON by parameter name: read as freely as JSON from elsewhere is."""
        try:
            text = to_json(dict(values), bytes_mode="base64", inf_nan_mode="strings").decode()
        except Exception as error:
            raise Unstorable(f"{self._what} cannot be started: {culprit(values) or error}") from error
        return self._encoded(self._shape.read(text))

    def decode(self, text: str) -> tuple[tuple[object, ...], dict[str, object]]:
        """The arguments to call the function with; what is not in ``text`` is left to its default.

        Raises:
            InvalidInput: with the path of each field that does not fit.
        """
        values = self._shape.read(text)
        if not self._unnamed:
            return (), values
        args: list[object] = []
        for name in self._unnamed:
            if name not in values:
                break
            args.append(values.pop(name))
        return tuple(args), values

    def default_text(self, name: str) -> str | None:
        """The default of a parameter, as JSON text; None if it has none, or one that is not fit to be an argument."""
        if name not in self._defaults:
            return None
        try:
            return to_json(self._defaults[name], by_alias=True).decode()
        except Exception:
            return None

    def _written(self, values: dict[str, object]) -> str:
        if not self._presorted:
            values = {name: values[name] for name in self._sorted if name in values}
        text, _ = self._shape.write(values)
        return text

    def _encoded(self, values: dict[str, object]) -> Encoded:
        text = self._written(values)
        return Encoded(text, digest_of(text if self._canonical else canonical(text, self._unordered)))

    def _bind(self, args: Sequence[object], kwargs: Mapping[str, object]) -> dict[str, object]:
        values = dict(zip(self._positional, args, strict=False))
        if len(args) > len(self._positional) or not (kwargs.keys() <= self._named and values.keys().isdisjoint(kwargs)):
            self._refuse(args, kwargs)
        values.update(kwargs)
        if not self._required <= values.keys():
            self._refuse(args, kwargs)
        return values

    def _refuse(self, args: Sequence[object], kwargs: Mapping[str, object]) -> NoReturn:
        problems: list[str] = []
        if len(args) > len(self._positional):
            most = len(self._positional)
            problems.append(f"takes {most} positional argument{'s' * (most != 1)}, and {len(args)} were given")
        passed = self._positional[: len(args)]
        problems += [f"was given {name!r} twice" for name in passed if name in kwargs and name in self._named]
        problems += [f"takes {name!r} by position only" for name in self._unnamed if name in kwargs]
        unknown = [name for name in kwargs if name not in self.names]
        if unknown:
            problems.append(f"has no parameter {', '.join(map(repr, unknown))}")
        missing = [name for name in self.names if name in self._required.difference(passed, kwargs)]
        if missing:
            problems.append(f"needs {', '.join(map(repr, missing))}")
        raise InvalidInput(f"{self._what} {'; '.join(problems)}; its parameters: {', '.join(self.names) or 'none'}")


def _parameters(fn: Callable[..., object], what: str) -> dict[str, inspect.Parameter]:
    try:
        parameters = inspect.signature(fn).parameters
    except (TypeError, ValueError) as error:
        raise DefinitionError(f"{what}: its parameters cannot be read: {error}") from error
    for name, parameter in parameters.items():
        if parameter.kind in _VARIADIC:
            stars = _VARIADIC[parameter.kind]
            raise DefinitionError(
                f"{what} takes {stars}{name}: arguments are stored by name, one by one; "
                "name them, or take a list or a dict"
            )
    return dict(parameters)
