from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.errors import ConfigurationError, GiveUp, InvalidInput, RetryAfter, Unstorable
from holdfast.core.retry import Retry

durations = st.timedeltas(min_value=timedelta(0), max_value=timedelta.max)
shares = st.floats(0, 1)
attempts = st.integers(1, 10**9) | st.just(2**63)


@st.composite
def retries(draw: st.DrawFn, jitter: st.SearchStrategy[float] = shares) -> Retry:
    initial, maximum = sorted([draw(durations), draw(durations)])
    return Retry(
        max_attempts=None,
        initial=initial,
        maximum=maximum,
        factor=draw(st.floats(1, 1e308)),
        jitter=draw(jitter),
    )


@given(retries(), attempts, shares)
def test_a_rest_is_never_negative_and_never_longer_than_maximum_and_jitter(
    retry: Retry, attempt: int, jitter: float
) -> None:
    rest = retry.decide(ValueError(), attempt, jitter)
    assert rest is not None
    assert timedelta(0) <= rest
    # Compared in seconds, since the bound itself may be beyond timedelta.max; 1 µs is what rounding may add.
    assert rest.total_seconds() <= retry.maximum.total_seconds() * (1 + retry.jitter) * (1 + 1e-12) + 1e-6


@given(retries(st.just(0.0)), attempts, attempts, shares)
def test_without_jitter_a_later_rest_is_never_shorter(retry: Retry, one: int, other: int, jitter: float) -> None:
    early, late = sorted([one, other])
    first, second = retry.decide(ValueError(), early, jitter), retry.decide(ValueError(), late, jitter)
    assert first is not None
    assert second is not None
    assert first <= second


@given(retries(), attempts, shares)
def test_the_same_question_has_the_same_answer(retry: Retry, attempt: int, jitter: float) -> None:
    assert retry.decide(ValueError(), attempt, jitter) == retry.decide(ValueError(), attempt, jitter)


def test_by_default_four_attempts_rest_one_two_and_four_seconds() -> None:
    retry = Retry()
    assert [retry.decide(ValueError(), attempt, 0.5) for attempt in (1, 2, 3, 4)] == [
        timedelta(seconds=1),
        timedelta(seconds=2),
        timedelta(seconds=4),
        None,
    ]


def test_jitter_moves_a_rest_in_both_directions() -> None:
    retry = Retry(initial=timedelta(seconds=10), jitter=0.1)
    assert retry.decide(ValueError(), 1, 0.0) == timedelta(seconds=9)
    assert retry.decide(ValueError(), 1, 0.5) == timedelta(seconds=10)
    assert retry.decide(ValueError(), 1, 1.0) == timedelta(seconds=11)


def test_no_limit_means_for_ever() -> None:
    assert Retry(max_attempts=None).decide(ValueError(), 10**9, 0.5) == timedelta(seconds=60)


@pytest.mark.parametrize("error", [GiveUp(), InvalidInput("x"), Unstorable("x"), asyncio.CancelledError()])
def test_some_errors_are_never_retried(error: BaseException) -> None:
    assert Retry().decide(error, 1, 0.5) is None


def test_only_what_retry_on_names_is_retried() -> None:
    retry = Retry(retry_on=(OSError,))
    assert retry.decide(ConnectionError(), 1, 0.5) is not None
    assert retry.decide(ValueError(), 1, 0.5) is None


def test_give_up_on_is_stronger_than_retry_on() -> None:
    retry = Retry(retry_on=(OSError,), give_up_on=(FileNotFoundError,))
    assert retry.decide(FileNotFoundError(), 1, 0.5) is None
    assert retry.decide(PermissionError(), 1, 0.5) is not None


def test_retry_after_sets_the_rest_but_no_further_attempt() -> None:
    retry = Retry(retry_on=(OSError,), maximum=timedelta(seconds=60))
    error = RetryAfter(timedelta(hours=2))
    assert retry.decide(error, 1, 0.9) == timedelta(hours=2)
    assert retry.decide(error, 4, 0.9) is None


def test_all_mistakes_are_told_at_once() -> None:
    wrong: dict[str, Any] = {
        "max_attempts": 0,
        "initial": timedelta(seconds=-1),
        "maximum": 60,
        "factor": 0.5,
        "jitter": 2,
        "retry_on": OSError,
        "give_up_on": ("x",),
    }
    with pytest.raises(ConfigurationError) as raised:
        Retry(**wrong)
    assert len(raised.value.mistakes) == 7
    for name, mistake in zip(("max_attempts", "initial", "maximum"), raised.value.mistakes, strict=False):
        assert mistake.startswith(f"{name} is ")


@pytest.mark.parametrize("factor", [float("nan"), float("inf"), True, "2"])
def test_a_factor_is_a_finite_number(factor: Any) -> None:
    with pytest.raises(ConfigurationError, match="factor is"):
        Retry(factor=factor)


def test_an_initial_rest_longer_than_the_maximum_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="raise maximum="):
        Retry(initial=timedelta(minutes=2))
