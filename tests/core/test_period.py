"""Spans of time as people write them, in both directions."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.period import read_period, write_period


@given(st.timedeltas(timedelta(), timedelta(days=100_000)))
def test_what_is_written_is_read_as_the_same(span: timedelta) -> None:
    assert read_period(write_period(span)) == span


@pytest.mark.parametrize(
    ("span", "text"),
    [
        (timedelta(), "0s"),
        (timedelta(days=30), "30d"),
        (timedelta(hours=1, minutes=30), "1h30m"),
        (timedelta(seconds=2.5), "2.5s"),
        (timedelta(milliseconds=250), "250ms"),
        (timedelta(microseconds=1), "0.001ms"),
        (timedelta(minutes=1, seconds=-1), "59s"),
        (timedelta(seconds=-90), "-1m30s"),
    ],
)
def test_it_is_short(span: timedelta, text: str) -> None:
    assert write_period(span) == text
