"""The JSON form of a type: how its values are written, checked and read back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Generic, NoReturn, TypeVar

from pydantic import ConfigDict, GetCoreSchemaHandler, TypeAdapter, ValidationError
from pydantic.errors import PydanticSchemaGenerationError, PydanticUserError
from pydantic_core import CoreSchema, core_schema, from_json

from holdfast.core.complaint import complaints, culprit, listed
from holdfast.core.errors import DefinitionError, HoldfastError, InvalidInput, Unstorable
from holdfast.core.likeness import alike, loss

T = TypeVar("T")

# Types with a configuration of their own keep it. What they cannot write so that it can be read back is refused.
_CONFIG = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64", ser_json_inf_nan="strings", defer_build=True)
_FIELDS_CONFIG = core_schema.CoreConfig(ser_json_bytes="base64", val_json_bytes="base64", ser_json_inf_nan="strings")


class Shape(Generic[T]):
    """How values of one type become JSON text, and come back from it.

    A value fits its type as a type checker sees it, with a few kindnesses: an int where a float or Decimal is asked
    for, a tuple for a list, a value for its enum. JSON text is read more freely: ``"5"`` is good for an int. What
    :meth:`write` returns can always be read, and nothing was lost on the way.

    ``misfit`` is the error for values that do not fit; those that fit but cannot be stored are ``Unstorable``.
    """

    def __init__(
        self, annotation: Any, *, what: str, namespace: Mapping[str, Any], misfit: type[HoldfastError] = InvalidInput
    ) -> None:
        self._what = what
        self._misfit = misfit
        self._adapter: TypeAdapter[T] = _adapter(annotation, what, namespace)
        self._to_json: Callable[..., bytes] = self._adapter.serializer.to_json
        self._from_json: Callable[..., T] = self._adapter.validator.validate_json

    @classmethod
    def of_fields(
        cls, fields: Mapping[str, Any], *, required: frozenset[str], what: str, namespace: Mapping[str, Any]
    ) -> Shape[dict[str, object]]:
        """The shape of a JSON object with just these fields."""

        class Fields:
            @classmethod
            def __get_pydantic_core_schema__(cls, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
                members = {
                    name: core_schema.typed_dict_field(
                        _generated(handler, kind, f"{what}: the parameter {name!r}"), required=name in required
                    )
                    for name, kind in fields.items()
                }
                return core_schema.typed_dict_schema(members, extra_behavior="forbid", config=_FIELDS_CONFIG)

        return Shape(Fields, what=what, namespace=namespace)

    @property
    def schema(self) -> CoreSchema:
        """What pydantic made of the type."""
        return self._adapter.core_schema

    def write(self, value: object) -> tuple[str, T]:
        """The JSON text of ``value``, and the value as it will be read back.

        Raises:
            HoldfastError: of the class ``misfit``, with the path of each field that does not fit.
            Unstorable: a value fits, but JSON cannot hold it; with its path.
        """
        try:
            data = self._to_json(value, by_alias=True, warnings="error")
            read = self._from_json(data, strict=True, by_name=True)
            if read == value:
                return data.decode(), read
        except Exception:  # noqa: S110 - whatever it was, the careful way finds the words for it
            pass
        return self._write_carefully(value)

    def read(self, text: str) -> T:
        """The value that ``text`` stands for.

        Raises:
            HoldfastError: of the class ``misfit``, with the path of each field that does not fit.
        """
        # Strict first, so that what was written is read as it was checked; `int | str` is an example where it matters.
        try:
            return self._from_json(text, strict=True, by_name=True)
        except Exception:
            return self._read_freely(text)

    def _read_freely(self, text: str | bytes) -> T:
        try:
            return self._from_json(text, by_name=True)
        except ValidationError as error:
            self._refuse(listed(complaints(error, _parsed(text))), error)
        except Exception as error:
            self._refuse(f"does not fit: {type(error).__name__}: {error}", error)

    def _write_carefully(self, value: object) -> tuple[str, T]:
        self._check(value)
        try:
            data = self._to_json(value, by_alias=True, warnings=False)
        except Exception as error:
            raise Unstorable(f"{self._what} cannot be stored: {culprit(value) or error}") from error
        try:
            read = self._from_json(data, strict=True, by_name=True)
        except ValidationError as error:
            if any(detail["type"] == "json_invalid" for detail in error.errors(include_url=False)):
                reason = culprit(value) or error.errors(include_url=False)[0]["msg"]
                raise Unstorable(f"{self._what} cannot be stored: {reason}") from error
            # `NaN` is written as text, and there are types whose JSON form is only read without strictness: that is
            # fine where the same value comes back. Where another one does, it was of the wrong type inside.
            read = self._read_freely(data)
            if not alike(value, read):
                self._refuse(listed(complaints(error, _parsed(data))), error)
        except Exception as error:
            self._refuse(f"does not fit: {type(error).__name__}: {error}", error)
        if problem := loss(value, read):
            raise Unstorable(f"{self._what} cannot be stored: {problem}")
        return data.decode(), read

    def _check(self, value: object) -> None:
        """Refuses what is of the wrong type, as far as it can be seen without looking into instances."""
        try:
            self._adapter.validator.validate_python(value, strict=True, by_name=True)
        except ValidationError as error:
            if not self._fits_freely(value):
                self._refuse(listed(complaints(error, value)), error)
        except Exception as error:
            self._refuse(f"does not fit: {culprit(value) or f'{type(error).__name__}: {error}'}", error)

    def _fits_freely(self, value: object) -> bool:
        try:
            return alike(value, self._adapter.validator.validate_python(value, by_name=True))
        except Exception:
            return False

    def _refuse(self, problem: str, error: Exception) -> NoReturn:
        raise self._misfit(f"{self._what} {problem}") from error


def _parsed(text: str | bytes) -> object:
    try:
        return from_json(text)
    except ValueError:
        return None


def _adapter(annotation: Any, what: str, namespace: Mapping[str, Any]) -> TypeAdapter[Any]:
    class Wrapped:
        # Through a class without configuration of its own, since a TypeAdapter takes none for dataclasses.
        @classmethod
        def __get_pydantic_core_schema__(cls, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
            return _generated(handler, annotation, what)

    try:
        adapter = TypeAdapter[Any](Wrapped, config=_CONFIG)
        adapter.rebuild(_types_namespace=namespace)
    except NameError as error:
        raise DefinitionError(
            f"{what}: a type refers to {error.name or str(error)!r}, which cannot be found; define it in the module"
        ) from error
    except DefinitionError:
        raise
    except Exception as error:
        raise DefinitionError(f"{what}: its types cannot be stored: {error}") from error
    return adapter


def _generated(handler: GetCoreSchemaHandler, annotation: Any, what: str) -> CoreSchema:
    try:
        return handler.generate_schema(annotation)
    except PydanticSchemaGenerationError as error:
        kind = error.message.removeprefix("Unable to generate pydantic-core schema for ").partition(". ")[0]
        raise DefinitionError(
            f"{what} cannot be stored: pydantic knows no JSON form for {kind}; use a dataclass, a pydantic model "
            "or the plain values that are needed"
        ) from error
    except PydanticUserError as error:
        raise DefinitionError(f"{what} cannot be stored: {error.message}") from error
