"""Words on the command line that stand for values."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import click
import pytest

from holdfast.cli.words import duration, moment, read_input, tag


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("90", timedelta(seconds=90)),
        ("0.5", timedelta(seconds=0.5)),
        ("250ms", timedelta(milliseconds=250)),
        ("1h30m", timedelta(hours=1, minutes=30)),
        ("11d", timedelta(days=11)),
        ("2w 1d", timedelta(days=15)),
    ],
)
def test_a_duration(text: str, value: timedelta) -> None:
    assert duration(text) == value


@pytest.mark.parametrize("text", ["", "soon", "1x", "h", "-3", "1e99d", "3 apples", "9" * 30 + "w"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(click.BadParameter, match="duration"):
        duration(text)


def test_a_time() -> None:
    assert moment("2030-01-31T09:00+02:00") == datetime(2030, 1, 31, 7, tzinfo=UTC)
    assert moment("2030-01-31").tzinfo is UTC
    with pytest.raises(click.BadParameter, match="is not a time"):
        moment("tomorrow")


def test_a_tag() -> None:
    assert tag("customer=a=b") == ("customer", "a=b")
    with pytest.raises(click.BadParameter, match="write name=value"):
        tag("customer")


def test_input_from_words() -> None:
    words = ("number=17", "express=true", "zip=01067", "name=Ada L", 'text:="17"', "at=2030-01-31", "empty=")
    assert read_input(None, words) == {
        "number": 17,
        "express": True,
        "zip": "01067",
        "name": "Ada L",
        "text": "17",
        "at": "2030-01-31",
        "empty": "",
    }


def test_words_win_over_the_document() -> None:
    assert read_input('{"a": 1, "b": 2}', ("b=3",)) == {"a": 1, "b": 3}


@pytest.mark.parametrize(
    ("document", "words", "said"),
    [
        ("[1]", (), "one JSON object by parameter name"),
        ("{", (), "--input is not JSON"),
        (None, ("number",), "'number' is not name=value"),
        (None, ("a:=nonsense",), "a is not JSON"),
        (None, ("=1",), "is not name=value"),
    ],
)
def test_what_is_no_input(document: str | None, words: tuple[str, ...], said: str) -> None:
    with pytest.raises(click.BadParameter, match=said):
        read_input(document, words)
