from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NoReturn
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.errors import (
    ActivityFailed,
    ActivityTimedOut,
    ConfigurationError,
    HoldfastError,
    KeyConflict,
    MissingClass,
    NonDeterminismError,
    ResultTimeout,
    RetryAfter,
    RunCancelled,
    RunFailed,
    RunTimedOut,
    UnknownName,
)
from holdfast.core.failure import Failure

RUN = UUID("018f2f4e-7c1a-7bbb-8000-0123456789ab")


class Declined(Exception):
    """Made from its ``args``, as most are."""


class Coded(Exception):
    def __init__(self, message: str, code: int = 0) -> None:
        super().__init__(message)
        self.code = code


class OrderRejected(Exception):
    """Its ``args`` are not its parameters, but its attributes are."""

    def __init__(self, order_id: UUID, amount: float) -> None:
        super().__init__(f"order {order_id} over {amount}")
        self.order_id = order_id
        self.amount = amount


class Forgetful(Exception):
    """Neither its ``args`` nor its attributes are its parameters."""

    def __init__(self, order_id: int, amount: int) -> None:
        super().__init__(f"order {order_id} over {amount}")


class Decorating(Exception):
    """Made from its ``args`` it has another message."""

    def __init__(self, message: str) -> None:
        super().__init__(f"<{message}>")


class Exploding(Exception):
    def __init__(self) -> None:
        if hasattr(Exploding, "armed"):
            raise SystemError("boom")
        super().__init__()


class Mute(Exception):
    def __str__(self) -> str:
        raise ValueError("no words")


class Holding(Exception):
    """With an attribute that is not JSON."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.handle = object()
        self.code = 7


class Outer:
    class Nested(Exception): ...


def raised(error: BaseException, cause: BaseException | None = None) -> BaseException:
    """``error`` as it is caught, with a traceback."""
    try:
        if cause is None:
            raise error
        raise error from cause
    except BaseException as caught:
        return caught


def recorded(error: BaseException) -> Failure:
    """What a journal gives back."""
    failure = Failure.of(raised(error))
    again = Failure.from_json(failure.to_json())
    assert again == failure
    return again


@pytest.mark.parametrize(
    "error",
    [
        Declined("no funds"),
        Declined("no funds", 5, [1, {"a": None}]),
        Declined(),
        ValueError("x"),
        KeyError("x"),
        FileNotFoundError(2, "No such file or directory", "/nowhere"),
        ConnectionResetError(104, "reset"),
        OrderRejected(RUN, 12.5),
        Outer.Nested("x"),
        RetryAfter(timedelta(seconds=3)),
        RetryAfter(timedelta(seconds=3), "later"),
        ConfigurationError("one", "two"),
        UnknownName("workflow", "a", ["c", "b"]),
        KeyConflict(RUN, "charge", "key"),
        ResultTimeout(RUN, timedelta(seconds=3)),
        RunFailed(RUN, "m:C", "message", "traceback"),
        RunTimedOut(RUN, "m:C", "message"),
        RunCancelled(RUN),
        ActivityFailed("charge", "m:C", "message", "traceback", "cause"),
        NonDeterminismError("a", "b", "c"),
        MissingClass("m:C", "is missing"),
        HoldfastError("x"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_exception_comes_back_as_its_own_class(error: Exception) -> None:
    failure = recorded(error)
    assert failure.rebuildable
    back = failure.exception("charge")
    assert type(back) is type(error)
    assert back.args == error.args
    assert str(back) == str(error)


def test_attributes_come_back() -> None:
    back = recorded(Coded("refused", code=402)).exception("charge")
    assert isinstance(back, Coded)
    assert back.code == 402
    rejected = recorded(OrderRejected(RUN, 12.5)).exception("charge")
    assert isinstance(rejected, OrderRejected)
    assert (rejected.order_id, rejected.amount) == (RUN, 12.5)
    conflict = recorded(KeyConflict(RUN, "charge", "key")).exception("charge")
    assert isinstance(conflict, KeyConflict)
    assert conflict.run_id == RUN


def test_notes_come_back() -> None:
    error = Declined("x")
    error.add_note("while charging")
    assert recorded(error).exception("charge").__notes__ == ["while charging"]


def test_attributes_that_are_not_json_stay_behind() -> None:
    back = recorded(Holding("x")).exception("charge")
    assert isinstance(back, Holding)
    assert back.code == 7
    assert back.handle is not None


@pytest.mark.parametrize(
    "error",
    [Forgetful(1, 2), Decorating("x"), Declined(object()), Declined({1}), Declined(float("nan")), Declined("\ud800")],
    ids=["forgetful", "decorating", "object", "set", "nan", "surrogate"],
)
def test_what_cannot_be_made_again_is_an_activity_failure(error: Exception) -> None:
    failure = recorded(error)
    assert not failure.rebuildable
    back = failure.exception("charge")
    assert type(back) is ActivityFailed
    assert back.activity == "charge"
    assert back.type_name == f"{type(error).__module__}:{type(error).__qualname__}"
    assert back.message == str(error).encode("utf-8", "replace").decode()
    assert back.traceback is not None
    assert "Traceback" in back.traceback


def test_a_class_made_in_a_function_is_an_activity_failure() -> None:
    class Local(Exception): ...

    assert type(recorded(Local("x")).exception("charge")) is ActivityFailed


def test_a_class_that_does_anything_when_it_is_made_harms_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    error = Exploding()
    monkeypatch.setattr(Exploding, "armed", True, raising=False)
    failure = recorded(error)
    assert not failure.rebuildable


def test_a_message_that_cannot_be_read_harms_nobody() -> None:
    failure = recorded(Mute())
    assert failure.message == "<its message cannot be read: ValueError>"
    assert isinstance(failure.exception("charge"), ActivityFailed)


def test_a_class_that_is_not_loaded_blocks() -> None:
    failure = Failure(type="no.such.module:Error", message="x", args=["x"], rebuildable=True)
    with pytest.raises(MissingClass, match="this process has not loaded"):
        failure.exception("charge")


@pytest.mark.parametrize("name", ["builtins:int", "builtins:print", "builtins:SystemExit", "builtins", "os:path.join"])
def test_only_exceptions_are_ever_made(name: str) -> None:
    with pytest.raises(MissingClass):
        Failure(type=name, message="x", args=["x"], rebuildable=True).exception("charge")


def test_a_class_that_has_changed_since_blocks() -> None:
    failure = Failure(type=f"{__name__}:OrderRejected", message="x", args=["x"], rebuildable=True)
    with pytest.raises(MissingClass, match="cannot be made from what was recorded"):
        failure.exception("charge")


def test_a_timeout_is_caught_as_one() -> None:
    failure = Failure.of(raised(TimeoutError()), reason="timeout")
    assert type(Failure.from_json(failure.to_json()).exception("charge")) is ActivityTimedOut
    own = Failure.of(ActivityTimedOut("charge", "builtins:TimeoutError", "after 3 s"), reason="timeout")
    back = own.exception("charge")
    assert type(back) is ActivityTimedOut
    assert back.message == "after 3 s"


def test_the_cause_comes_back_too() -> None:
    failure = Failure.of(raised(Declined("x"), cause=raised(ValueError("y"), cause=Forgetful(1, 2))))
    back = Failure.from_json(failure.to_json()).exception("charge")
    assert isinstance(back, Declined)
    assert isinstance(back.__cause__, ValueError)
    assert isinstance(back.__cause__.__cause__, ActivityFailed)


def test_a_missing_class_of_a_cause_does_not_block() -> None:
    cause = Failure(type="no.such.module:Error", message="x", args=["x"], rebuildable=True)
    failure = Failure(type="builtins:ValueError", message="x", args=["x"], rebuildable=True, cause=cause)
    back = failure.exception("charge")
    assert isinstance(back, ValueError)
    assert isinstance(back.__cause__, ActivityFailed)


def test_what_was_handled_when_it_was_raised_is_its_cause() -> None:
    def fail() -> NoReturn:
        try:
            raise ValueError("first")
        except ValueError:
            raise Declined("second")  # noqa: B904 - that is the case

    with pytest.raises(Declined) as caught:
        fail()
    failure = Failure.of(caught.value)
    assert failure.cause is not None
    assert failure.cause.type == "builtins:ValueError"


def test_a_long_chain_is_cut_and_a_circle_ends() -> None:
    error: BaseException = ValueError("0")
    for number in range(1, 20):
        error = raised(ValueError(str(number)), cause=error)
    failure: Failure | None = Failure.of(error)
    depth = 0
    while failure is not None:
        failure, depth = failure.cause, depth + 1
    assert depth == 5
    one, other = ValueError("one"), ValueError("other")
    one.__cause__, other.__cause__ = other, one
    failure = Failure.of(one)
    assert failure.cause is not None
    assert failure.cause.message == "other"
    assert failure.cause.cause is None


async def test_a_group_names_its_members() -> None:
    async def fail(error: Exception) -> None:
        raise error

    async def fail_together() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(fail(ValueError("a")))
            group.create_task(fail(Declined("b")))

    with pytest.raises(ExceptionGroup) as caught:
        await fail_together()
    failure = Failure.of(caught.value)
    assert failure.message == "unhandled errors in a TaskGroup (2 sub-exceptions): ValueError: a; Declined: b"
    assert failure.traceback is not None
    assert "ValueError: a" in failure.traceback
    assert type(failure.exception("charge")) is ActivityFailed


def recurse(levels: int) -> NoReturn:
    if levels == 0:
        raise Declined("x" * 100_000)
    recurse(levels - 1)


@pytest.mark.parametrize("size", [1_900, 7_900, 100_000])
def test_a_failure_is_small_whatever_was_raised(size: int) -> None:
    with pytest.raises(Declined) as caught:
        recurse(300)
    error: BaseException = caught.value
    for _ in range(10):
        error = raised(Coded("y" * size, code=1), cause=error)
        error.add_note("z" * size)
    assert len(Failure.of(error).to_json()) < 64_000


def test_a_long_message_is_cut_in_the_middle() -> None:
    failure = Failure.of(Declined("a" * 50_000 + "b" * 50_000))
    assert failure.message.startswith("aaa")
    assert failure.message.endswith("bbb")
    assert "98000 characters left out" in failure.message


def test_the_traceback_begins_with_the_users_code() -> None:
    failure = recorded(Declined("x"))
    assert failure.traceback is not None
    assert "raise error" in failure.traceback
    assert "holdfast/" not in failure.traceback


@given(st.text(st.characters()), st.text(st.characters(categories=["Cs", "Cc"])))
def test_any_text_can_be_stored(one: str, other: str) -> None:
    failure = Failure.of(Declined(one + other))
    failure.to_json().encode()
    assert Failure.from_json(failure.to_json()) == failure


def test_a_cancellation_or_exit_can_be_recorded() -> None:
    for error in (asyncio.CancelledError("x"), SystemExit(1), KeyboardInterrupt()):
        failure = recorded(error)
        assert not failure.rebuildable
        assert isinstance(failure.exception("charge"), ActivityFailed)


def test_fields_of_a_later_version_are_ignored() -> None:
    text = json.dumps({"type": "builtins:ValueError", "message": "x", "later": {"a": 1}})
    assert Failure.from_json(text) == Failure(type="builtins:ValueError", message="x")


@dataclass
class Payload:
    value: Any


class Typed(Exception):
    """With a parameter that JSON alone cannot hold, but its annotation can."""

    def __init__(self, payload: Payload) -> None:
        super().__init__(str(payload))
        self.payload = payload


def test_parameters_are_written_by_their_annotations() -> None:
    back = recorded(Typed(Payload([1]))).exception("charge")
    assert isinstance(back, Typed)
    assert back.payload == Payload([1])
