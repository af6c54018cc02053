from __future__ import annotations

import enum
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, NewType, TypeVar
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, SecretStr
from typing_extensions import TypedDict

from holdfast.core.errors import DefinitionError, InvalidInput, Unstorable
from holdfast.core.shape import Shape
from holdfast.core.values import Parameters

WHAT = "workflow 'trial-onboarding'"
T = TypeVar("T")
CustomerId = NewType("CustomerId", int)


class Colour(enum.Enum):
    RED = "red"
    TWO = 2


class Plan(enum.StrEnum):
    PRO = "pro"


@dataclass
class Signup:
    company: str
    email: str


@dataclass
class BoxOf(Generic[T]):
    item: T


@dataclass
class Node:
    name: str
    children: list[Node] = field(default_factory=list["Node"])


@dataclass
class Everything:
    data: bytes = b""
    number: float | None = None
    anything: Any = None
    tags: set[str] = field(default_factory=set[str])
    count: int = 0


@dataclass
class Animal:
    name: str


@dataclass
class Dog(Animal):
    tricks: int = 0


class Order(BaseModel):
    number: int
    price: float | None = None
    data: bytes = b""
    anything: Any = None


class Cart(BaseModel):
    items: list[Everything]


class Aliased(BaseModel):
    number: int = Field(alias="orderNumber")


class Base64Order(BaseModel):
    model_config = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")
    data: bytes


class HalfBase64Order(BaseModel):
    model_config = ConfigDict(ser_json_bytes="base64")
    data: bytes


class Address(TypedDict):
    street: str


def taking(annotation: object) -> Parameters:
    """The parameters of a function with one parameter, ``value``, of this type."""

    def function(value: object) -> None: ...

    function.__annotations__ = {"value": annotation}
    return Parameters(function, what=WHAT)


def round_trip(annotation: object, value: object) -> Any:
    parameters = taking(annotation)
    args, kwargs = parameters.decode(parameters.encode((value,), {}).text)
    assert args == ()
    return kwargs["value"]


MOMENT = datetime(2026, 2, 28, 23, 59, 59, 999999, tzinfo=UTC)
IDENTITY = UUID("018f2f4e-7c1a-7bbb-8000-0123456789ab")


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (Signup, Signup("Acme", "ada@acme.dev")),
        (Order, Order(number=1)),
        (Aliased, Aliased(orderNumber=7)),
        (Base64Order, Base64Order(data=bytes(range(256)))),
        (Address, {"street": "Main"}),
        (Colour, Colour.TWO),
        (Plan, Plan.PRO),
        (datetime, MOMENT),
        (datetime, MOMENT.replace(tzinfo=None)),
        (date, date(2026, 2, 28)),
        (time, time(1, 2, 3)),
        (timedelta, timedelta(days=1, microseconds=1)),
        (UUID, IDENTITY),
        (Decimal, Decimal("1.10")),
        (Path, Path("/tmp/x")),  # noqa: S108 - only a value
        (bytes, bytes(range(256))),
        (bytes | None, b"\xff"),
        (list[bytes], [b"\xff", b""]),
        (Everything, Everything(data=bytes(range(256)))),
        (set[int], {3, 1, 2}),
        (frozenset[str], frozenset({"a", "b"})),
        (tuple[int, str], (1, "a")),
        (tuple[int, ...], (1, 2)),
        (int | str, "5"),
        (int | str, 5),
        (Signup | Order, Order(number=1)),
        (Animal | Dog, Dog("Rex", 3)),
        (int | None, None),
        (None, None),
        (list[Signup], [Signup("a", "b")]),
        (dict[str, list[int]], {"a": [1]}),
        (dict[int, UUID], {1: IDENTITY}),
        (dict[UUID, datetime], {IDENTITY: MOMENT}),
        (Mapping[str, int], {"a": 1}),
        (Sequence[int], [1]),
        (Literal["a", 1], 1),
        (CustomerId, CustomerId(3)),
        (Annotated[int, Field(gt=3)], 4),
        (BoxOf[datetime], BoxOf(MOMENT)),
        (Node, Node("root", [Node("leaf")])),
        (float, math.inf),
        (str, "a\0b"),
        (str, "😀"),
        (int, 10**100),
        (Any, {"a": [None, 1.5, True, "x", {"b": [1]}]}),
        (dict[str, Any], {"a": {"b": 1}}),
    ],
)
def test_a_value_comes_back_as_it_was(annotation: object, value: object) -> None:
    back = round_trip(annotation, value)
    assert back == value
    assert type(back) is type(value)


def test_nan_comes_back_as_nan() -> None:
    assert math.isnan(round_trip(float, math.nan))
    assert math.isnan(round_trip(Everything, Everything(number=math.nan)).number)


@pytest.mark.parametrize(
    ("annotation", "value", "back"),
    [
        (float, 1, 1.0),
        (Decimal, 5, Decimal(5)),
        (list[int], (1, 2), [1, 2]),
        (tuple[int, ...], [1, 2], (1, 2)),
        (Plan, "pro", Plan.PRO),
        (Any, (1, 2), [1, 2]),
    ],
)
def test_small_kindnesses(annotation: object, value: object, back: object) -> None:
    assert round_trip(annotation, value) == back


@pytest.mark.parametrize(
    ("annotation", "value", "problem"),
    [
        (str, 5, "value: should be a valid string, given 5"),
        (int, "5", "value: should be a valid integer, given '5'"),
        (int, 1.5, "value: should be a valid integer, given 1.5"),
        (float, "1", "value: should be a valid number, given '1'"),
        (datetime, "2026-01-01T00:00:00", "value: should be a valid datetime, given '2026-01-01T00:00:00'"),
        (Signup, {"company": "a", "email": "b"}, "value: should be an instance of Signup, given {'company': 'a', "),
        (Signup, Signup(1, "b"), "value.company: should be a valid string, given 1"),  # type: ignore[arg-type]
        (list[Signup], [Signup("a", "b"), Signup("a", 2)], "value[1].email: should be a valid string, given 2"),  # type: ignore[arg-type]
        (Everything, Everything(count="5"), "value.count: should be a valid integer, given '5'"),  # type: ignore[arg-type]
        (dict[str, list[int]], {"a": [1, "2"]}, "value.a[1]: should be a valid integer, given '2'"),
        (int | str, 1.5, "value: should be a valid integer or should be a valid string, given 1.5"),
        (int | list[int], ["x"], "value[0]: should be a valid integer, given 'x'"),
        (Colour, "red", "value: should be an instance of Colour, given 'red'"),
        (list[int], {1, 2}, "value: should be a valid list, given {1, 2}"),
        (None, 3, "value: should be None, given 3"),
        (Literal["a"], "b", "value: should be 'a', given 'b'"),
        (Aliased, Aliased.model_construct(number="5"), "value.orderNumber: should be a valid integer, given '5'"),
        (int, None, "value: should be a valid integer, given None"),
        (Order, Order.model_construct(number="5"), "value.number: should be a valid integer, given '5'"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_path(annotation: object, value: object, problem: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        taking(annotation).encode((value,), {})
    assert problem in str(raised.value)
    assert str(raised.value).startswith(f"{WHAT} does not fit:")


def test_a_long_value_is_cut_in_the_message() -> None:
    with pytest.raises(InvalidInput) as raised:
        taking(int).encode(("x" * 10_000,), {})
    assert len(str(raised.value)) < 300


def circular() -> list[Any]:
    items: list[Any] = []
    items.append(items)
    return items


def circular_node() -> Node:
    node = Node("a")
    node.children.append(node)
    return node


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("annotation", "value", "problem"),
    [
        (Any, {1, 2}, "value is {1, 2}, a set, and would be read back as [1, 2]"),
        (dict[str, Any], {"a": [{1}]}, "value.a[0] is {1}, a set"),
        (Everything, Everything(anything={1}), "value.anything is {1}, a set"),
        (Order, Order(number=1, anything={1}), "value.anything is {1}, a set"),
        (Any, object(), "JSON has no form for the type object"),
        (Any, {"a": [object()]}, "value.a[0] is <object object"),
        (Any, MOMENT, "value is datetime.datetime("),
        (Any, Signup("a", "b"), "would be read back as {'company': 'a', 'email': 'b'}"),
        (Any, Decimal(1), "a Decimal, and would be read back as '1'"),
        (Any, b"a", "value is bytes, and would be read back as 'YQ=='"),
        (Any, math.nan, "value is nan, which JSON has no number for"),
        (Any, {"a": -math.inf}, "value.a is -inf, which JSON has no number for"),
        (Order, Order(number=1, price=math.nan), "value.price is nan, which JSON has no number for"),
        (Any, {1: "a"}, "value has the key 1, and JSON has only text as keys"),
        (Order, Order(number=1, data=b"\xff"), "value.data is bytes that are not UTF-8; give Order model_config"),
        (
            Cart,
            Cart(items=[Everything(b"\xff")]),
            "value.items[0].data is bytes that are not UTF-8; give Cart model_con",
        ),
        (HalfBase64Order, HalfBase64Order(data=b"\xff"), "value.data is bytes that would not come back as they are"),
        (Address, {"street": "a", "town": "b"}, "value has the key 'town', which its type does not declare"),
        (Animal, Dog("Rex", 3), "value is a Dog, and would be read back as a Animal, without 'tricks'"),
        (SecretStr, SecretStr("x"), "value is a SecretStr, which is only written with its text masked"),
        (str, "a\ud800", "value holds U+D800, half of a surrogate pair, which is not text (position 1)"),
        (Signup, Signup("a", "\udfff"), "value.email holds U+DFFF"),
        (Any, {"\ud800": 1}, "a key in value holds U+D800"),
        (Any, circular(), "value[0] contains itself"),
        (Node, circular_node(), "value.children[0] contains itself"),
        (Any, nested(230), "nested deeper than 200 levels"),
        (Any, nested(100_000), "nested deeper than 200 levels"),
        pytest.param(int, 10**5000, "number out of range", id="huge"),
    ],
)
def test_what_cannot_be_stored_is_refused_and_never_changed(annotation: object, value: object, problem: str) -> None:
    with pytest.raises(Unstorable) as raised:
        taking(annotation).encode((value,), {})
    assert problem in str(raised.value)
    assert str(raised.value).startswith(f"{WHAT} cannot be stored: ")


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(JSON)
def test_any_json_comes_back_as_it_was_when_nothing_is_annotated(value: object) -> None:
    def function(value): ...  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202 # pyright: ignore[reportMissingParameterType, reportUnknownParameterType]

    parameters = Parameters(function, what=WHAT)  # pyright: ignore[reportUnknownArgumentType]
    text, digest = parameters.encode((value,), {})
    assert parameters.decode(text) == ((), {"value": value})
    assert json.loads(text) == {"value": value}
    assert parameters.encode_named({"value": value}) == (text, digest)


@given(st.binary())
def test_any_bytes_come_back_as_they_were(value: bytes) -> None:
    assert round_trip(bytes, value) == value


# ---- binding ---------------------------------------------------------------------------------------


def several(first: int, /, second: str, third: float = 1.5, *, fourth: bool = False) -> None: ...


SEVERAL = Parameters(several, what=WHAT)


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        ((1, "b"), {}),
        ((1,), {"second": "b"}),
        ((1, "b", 2.5), {"fourth": True}),
        ((1,), {"fourth": True, "third": 2.5, "second": "b"}),
    ],
)
def test_arguments_are_bound_like_a_call(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    several(*args, **kwargs)
    back_args, back_kwargs = SEVERAL.decode(SEVERAL.encode(args, kwargs).text)
    given = dict(zip(("first", "second", "third"), args, strict=False)) | kwargs
    assert dict(zip(("first",), back_args, strict=False)) | back_kwargs == given


@pytest.mark.parametrize(
    ("args", "kwargs", "problem"),
    [
        ((), {}, "needs 'first', 'second'"),
        ((1,), {}, "needs 'second'"),
        ((1, "b", 2.5, True), {}, "takes 3 positional arguments, and 4 were given"),
        ((1, "b"), {"second": "c"}, "was given 'second' twice"),
        ((), {"first": 1, "second": "b"}, "takes 'first' by position only"),
        ((1, "b"), {"fifth": 1}, "has no parameter 'fifth'"),
    ],
)
def test_a_wrong_call_is_refused(args: tuple[Any, ...], kwargs: dict[str, Any], problem: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        SEVERAL.encode(args, kwargs)
    assert problem in str(raised.value)
    assert str(raised.value).endswith("its parameters: first, second, third, fourth")


def test_a_default_that_was_not_passed_is_left_out() -> None:
    assert json.loads(SEVERAL.encode((1, "b"), {}).text) == {"first": 1, "second": "b"}
    assert json.loads(SEVERAL.encode((1, "b", 1.5), {}).text) == {"first": 1, "second": "b", "third": 1.5}


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "null",
        '{"first": 1',
        '{"first": 1}',
        '{"first": 1, "second": "b", "more": 1}',
        '{"first": "x", "second": ""}',
    ],
)
def test_text_that_does_not_fit_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="does not fit"):
        SEVERAL.decode(text)


def test_json_from_elsewhere_is_read_freely_and_stored_like_a_call() -> None:
    def function(count: int, at: datetime, signup: Signup, plan: Plan) -> None: ...

    parameters = Parameters(function, what=WHAT)
    named = parameters.encode_named(
        {
            "count": "5",
            "plan": "pro",
            "at": "2026-02-28T23:59:59.999999+00:00",
            "signup": {"email": "b", "company": "a"},
        }
    )
    assert named == parameters.encode((5, MOMENT, Signup("a", "b"), Plan.PRO), {})


def test_named_values_may_be_objects_too() -> None:
    parameters = taking(Signup)
    assert parameters.encode_named({"value": Signup("a", "b")}) == parameters.encode((Signup("a", "b"),), {})


def test_named_json_that_does_not_fit_is_refused_with_all_paths() -> None:
    def function(signup: Signup, count: int) -> None: ...

    with pytest.raises(InvalidInput) as raised:
        Parameters(function, what=WHAT).encode_named({"signup": {"company": "a"}, "count": "x", "more": 1})
    lines = str(raised.value).splitlines()
    assert lines[1:] == [
        "  signup.email: is missing",
        "  count: should be a valid integer, unable to parse string as an integer, given 'x'",
        "  more: is unknown",
    ]


def test_named_values_that_cannot_be_stored_are_refused() -> None:
    with pytest.raises(Unstorable, match=r"value\[0\] is <object"):
        taking(Any).encode_named({"value": [object()]})


# ---- definitions -----------------------------------------------------------------------------------


def variadic(*args: int) -> None: ...


def keywords(**kwargs: int) -> None: ...


class Opaque: ...


def opaque(value: list[Opaque]) -> None: ...


def unresolved(value: object) -> None: ...


unresolved.__annotations__["value"] = "Missing"


@pytest.mark.parametrize(
    ("function", "problem"),
    [
        (variadic, r"takes \*args: arguments are stored by name"),
        (keywords, r"takes \*\*kwargs"),
        (opaque, r"the parameter 'value' cannot be stored: pydantic knows no JSON form for <class '.*Opaque'>"),
        (unresolved, r"an annotation names 'Missing', which cannot be found"),
    ],
)
def test_a_function_of_no_use_is_refused(function: Callable[..., object], problem: str) -> None:
    with pytest.raises(DefinitionError, match=problem) as raised:
        Parameters(function, what=WHAT)
    assert str(raised.value).startswith(WHAT)


def test_types_made_in_a_function_are_found() -> None:
    @dataclass
    class Inner:
        moment: datetime

    @dataclass
    class Outer:
        inner: list[Inner]

    def function(outer: Outer) -> None: ...

    parameters = Parameters(function, what=WHAT)
    outer = Outer([Inner(MOMENT)])
    assert parameters.decode(parameters.encode((outer,), {}).text) == ((), {"outer": outer})


# ---- digests ---------------------------------------------------------------------------------------


def test_a_digest_has_eight_bytes_and_tells_arguments_apart() -> None:
    parameters = taking(Any)
    values: list[Any] = [1, 1.0, "1", None, [], {}, [1, 2], [2, 1]]
    digests = {parameters.encode((value,), {}).digest for value in values}
    assert len(digests) == 8
    assert {len(digest) for digest in digests} == {8}


@given(st.dictionaries(st.text(), JSON), st.randoms())
def test_the_order_of_keys_is_of_no_account(value: dict[str, object], random: Any) -> None:
    keys = list(value)
    random.shuffle(keys)
    for annotation in (Any, dict[str, Any]):
        parameters = taking(annotation)
        one = parameters.encode((value,), {}).digest
        assert parameters.encode(({key: value[key] for key in keys},), {}).digest == one


def test_the_order_of_arguments_is_of_no_account() -> None:
    def function(zebra: int, ant: int) -> None: ...

    parameters = Parameters(function, what=WHAT)
    assert parameters.encode((1, 2), {}) == parameters.encode((), {"ant": 2, "zebra": 1})


def test_the_order_of_parameters_and_fields_in_the_code_is_of_no_account() -> None:
    @dataclass
    class One:
        a: int
        b: int

    @dataclass
    class Other:
        b: int
        a: int

    def before(x: One, y: int) -> None: ...

    def after(y: int, x: Other) -> None: ...

    digests = {
        Parameters(before, what=WHAT).encode((One(1, 2), 3), {}).digest,
        Parameters(after, what=WHAT).encode((3, Other(2, 1)), {}).digest,
    }
    assert len(digests) == 1


class Tagged(BaseModel):
    tags: set[str]
    groups: list[frozenset[str]] = []


IN_ANOTHER_PROCESS = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("elsewhere", sys.argv[1])
module = importlib.util.module_from_spec(spec)
sys.modules["elsewhere"] = module
spec.loader.exec_module(module)
print(module.digest_of_sets())
"""


def digest_of_sets() -> str:
    words = {f"word-{number}" for number in range(50)}
    tagged = Tagged(tags=words, groups=[frozenset(words), frozenset({"a", "b", "c"})])
    parameters = taking(tuple[set[str], Tagged, dict[str, set[str]]])
    return parameters.encode(((words, tagged, {"b": words, "a": {"x", "y", "z"}}),), {}).digest.hex()


def test_sets_have_the_same_digest_in_any_process() -> None:
    digests = {
        subprocess.run(
            [sys.executable, "-c", IN_ANOTHER_PROCESS, __file__],
            env={**os.environ, "PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()
        for seed in ("1", "2", "3")
    }
    assert digests == {digest_of_sets()}


@given(st.lists(st.integers()), st.text(), st.floats(allow_nan=False, allow_infinity=False))
def test_text_that_is_canonical_as_written_has_the_digest_of_its_sorted_form(a: list[int], b: str, c: float) -> None:
    def typed(a: list[int], b: str, c: float) -> None: ...

    def untyped(a: Any, b: Any, c: Any) -> None: ...

    one, other = Parameters(typed, what=WHAT), Parameters(untyped, what=WHAT)
    assert one.encode((a, b, c), {}) == other.encode((a, b, c), {})


# ---- cost ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (Signup, Signup("a", "b")),
        (Order, Order(number=1)),
        (Address, {"street": "Main"}),
        (Colour, Colour.RED),
        (datetime, MOMENT),
        (UUID, IDENTITY),
        (Decimal, Decimal("1.10")),
        (bytes, b"\xff"),
        (set[str], {"a"}),
        (tuple[int, str], (1, "a")),
        (Signup | Order, Order(number=1)),
        (dict[UUID, list[datetime]], {IDENTITY: [MOMENT]}),
        (Any, {"a": [1, 2.5, None]}),
    ],
)
def test_values_of_their_type_are_written_without_a_second_look(
    annotation: object, value: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    parameters = taking(annotation)
    monkeypatch.delattr(Shape, "_write_carefully")
    parameters.encode((value,), {})
