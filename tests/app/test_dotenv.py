"""The subset of the .env format that is read."""

from __future__ import annotations

import pytest

from holdfast.app.dotenv import read_dotenv


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("NAME=plain", "plain"),
        ("export NAME=plain", "plain"),
        ("  NAME = spaced out  ", "spaced out"),
        ("NAME=", ""),
        ("NAME=value # a remark", "value"),
        ("NAME=pass#word", "pass#word"),
        ("NAME='single # ${OTHER}'", "single # ${OTHER}"),
        ('NAME="double # kept"', "double # kept"),
        (r'NAME="a \"quoted\" word\nand a line"', 'a "quoted" word\nand a line'),
        ('NAME="two\nlines"', "two\nlines"),
        ("NAME=postgresql://${USER_NAME}@h/db", "postgresql://ada@h/db"),
        ("NAME=postgresql://u:p=1&q@h/db?sslmode=require", "postgresql://u:p=1&q@h/db?sslmode=require"),
        ("NAME=first\nNAME=second", "second"),
        ("NAME=windows\r\nOTHER=x\r\n", "windows"),
    ],
)
def test_a_value_is_read(line: str, value: str) -> None:
    assert read_dotenv(line, {"USER_NAME": "ada"})["NAME"] == value


def test_earlier_lines_can_be_referred_to() -> None:
    text = "HOST=localhost\nURL=postgresql://${HOST}/db\n"
    assert read_dotenv(text, {})["URL"] == "postgresql://localhost/db"


def test_what_is_not_an_assignment_is_passed_over() -> None:
    assert read_dotenv("# remark\n\nnonsense\n=x\n1A=x\nNAME=v\n", {}) == {"NAME": "v"}
