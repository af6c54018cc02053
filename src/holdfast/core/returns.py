"""What a function returns, or a signal carries: values to JSON text and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Generic, TypeVar

from holdfast.core.errors import HoldfastError, Unstorable
from holdfast.core.shape import Shape

T = TypeVar("T")


class Returns(Generic[T]):
    """Values of the type ``annotation``; ``what`` is how messages call them: ``the result of activity 'charge'``.

    ``misfit`` is the error for a value that does not fit: a result is ``Unstorable``, a signal's payload would rather
    be ``InvalidInput``. ``namespace`` are names that the type may refer to, beside those of its module.

    Raises:
        DefinitionError: the annotation is of no use.
    """

    def __init__(
        self,
        annotation: object,
        *,
        what: str,
        namespace: Mapping[str, Any] | None = None,
        misfit: type[HoldfastError] = Unstorable,
    ) -> None:
        self._shape: Shape[T] = Shape(annotation, what=what, namespace=namespace or {}, misfit=misfit)

    def encode(self, value: object) -> tuple[str, T]:
        """The JSON text of ``value``, and the value as it will be read back.

        Raises:
            Unstorable: it does not fit its annotation, or JSON cannot hold it; with the path.
        """
        return self._shape.write(value)

    def decode(self, text: str | None) -> T:
        """The value that ``text`` stands for; none at all stands for ``None``.

        Raises:
            HoldfastError: of the class ``misfit``, if the text does not fit the annotation.
        """
        return self._shape.read("null" if text is None else text)
