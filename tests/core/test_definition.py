from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any, NoReturn

import pytest

from holdfast.core.definition import Definition
from holdfast.core.errors import DefinitionError, InvalidInput
from holdfast.core.states import RunKind


@dataclass
class Signup:
    company: str


async def onboard(signup: Signup, days: int = 11) -> str:
    """Takes a company through its trial.

    At length.
    """
    return f"{signup.company} {days}"


def add(one: int, other: int) -> int:
    return one + other


def defined(fn: Any, name: str = "onboard") -> Definition[..., Any]:
    return Definition(fn, name=name, kind=RunKind.WORKFLOW)


def test_a_definition_has_what_is_needed_to_start_and_to_read_it() -> None:
    definition: Definition[..., str] = Definition(onboard, name="trial-onboarding", kind=RunKind.WORKFLOW)
    assert definition.name == "trial-onboarding"
    assert definition.what == "workflow 'trial-onboarding'"
    assert definition.fn is onboard
    assert definition.is_async
    assert definition.description == "Takes a company through its trial."
    text = definition.parameters.encode((Signup("Acme"),), {}).text
    assert definition.parameters.decode(text) == ((), {"signup": Signup("Acme")})
    assert definition.returns.decode('"x"') == "x"
    assert repr(definition) == "<workflow 'trial-onboarding'>"
    assert definition.__doc__ == onboard.__doc__


def test_a_sync_function_is_not_async() -> None:
    definition: Definition[..., int] = Definition(add, name="add", kind=RunKind.ACTIVITY)
    assert not definition.is_async
    assert definition.what == "activity 'add'"
    assert definition.description == ""


def test_a_call_is_bound_but_not_checked() -> None:
    definition: Definition[..., str] = Definition(onboard, name="onboard", kind=RunKind.WORKFLOW)
    call = definition.call(Signup("Acme"), days=3)
    assert call.definition is definition
    assert call.args == (Signup("Acme"),)
    assert call.kwargs == {"days": 3}


class Adder:
    async def __call__(self, one: int) -> int:
        return one

    def method(self, one: int) -> int:
        return one


def test_methods_and_objects_with_a_call_are_functions_too() -> None:
    assert defined(Adder()).is_async
    assert defined(Adder().method).parameters.names == ("one",)
    partly = defined(functools.partial(add, 1)).parameters
    assert partly.names == ("other",)
    with pytest.raises(InvalidInput, match="other: should be a valid integer"):
        partly.encode(("x",), {})


async def for_ever() -> NoReturn:
    raise SystemExit


def test_a_function_that_never_returns_can_be_defined() -> None:
    assert defined(for_ever).returns.decode(None) is None


def generate() -> Iterator[int]:
    yield 1


async def generate_async() -> AsyncIterator[int]:
    yield 1


class Opaque: ...


def opaque() -> Opaque:
    return Opaque()


@pytest.mark.parametrize(
    ("fn", "problem"),
    [
        (generate, "`yield`"),
        (generate_async, "`yield`"),
        (opaque, "the result of workflow 'onboard' cannot be stored: pydantic knows no JSON form"),
        (3, "3 is not a function"),
        (staticmethod(add), "is not a function"),
        (defined(onboard), "registered already, as workflow 'onboard'"),
    ],
)
def test_a_function_of_no_use_is_refused(fn: Any, problem: str) -> None:
    with pytest.raises(DefinitionError, match=problem):
        defined(fn)


@pytest.mark.parametrize("name", ["", " a", "a\n", "a#1", "a" * 201, "a\0"])
def test_a_name_of_no_use_is_refused(name: str) -> None:
    with pytest.raises(DefinitionError, match="the name"):
        defined(onboard, name)
