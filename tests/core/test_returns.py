from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import BaseModel

from holdfast.core.errors import InvalidInput, Unstorable
from holdfast.core.values import Returns

WHAT = "the result of activity 'charge'"


@dataclass
class Receipt:
    number: int
    at: datetime
    data: bytes = b""
    tags: set[str] = field(default_factory=set[str])


class Invoice(BaseModel):
    number: int
    receipts: list[Receipt] = []


RECEIPT = Receipt(1, datetime(2026, 1, 1, tzinfo=UTC), b"\xff\x00", {"a"})
PLAIN_RECEIPT = Receipt(2, datetime(2026, 1, 1, tzinfo=UTC), b"text")


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (Receipt, RECEIPT),
        (Invoice, Invoice(number=1, receipts=[PLAIN_RECEIPT])),
        (bytes, b"\xff"),
        (list[Receipt], [RECEIPT]),
        (dict[str, bytes], {"a": b"\xff"}),
        (float, math.inf),
        (int | None, None),
        (None, None),
        (Any, {"a": [1]}),
        (tuple[int, str], (1, "a")),
    ],
)
def test_a_result_comes_back_as_it_was(annotation: object, value: object) -> None:
    returns = Returns[Any](annotation, what=WHAT)
    text, read = returns.encode(value)
    assert read == value
    assert returns.decode(text) == value


def test_a_live_result_is_what_a_replay_reads() -> None:
    returns = Returns[Any](Any, what=WHAT)
    text, read = returns.encode((1, (2, 3)))
    assert read == returns.decode(text) == [1, [2, 3]]


def test_no_text_stands_for_none() -> None:
    assert Returns[None](None, what=WHAT).decode(None) is None


@pytest.mark.parametrize(
    ("annotation", "value", "message"),
    [
        (int, "5", f"{WHAT} does not fit: should be a valid integer, given '5'"),
        (None, 5, f"{WHAT} does not fit: should be None, given 5"),
        (list[int], [1, "x"], f"{WHAT} does not fit: [1]: should be a valid integer, given 'x'"),
        (Any, {1}, f"{WHAT} cannot be stored: it is {{1}}, a set, and would be read back as [1]"),
        (Any, [object()], f"{WHAT} cannot be stored: [0] is <object object"),
        (str, "\ud800", f"{WHAT} cannot be stored: it holds U+D800"),
    ],
)
def test_what_cannot_be_recorded_is_refused(annotation: object, value: object, message: str) -> None:
    with pytest.raises(Unstorable) as raised:
        Returns[Any](annotation, what=WHAT).encode(value)
    assert str(raised.value).startswith(message)


def test_a_payload_that_does_not_fit_can_be_invalid_input() -> None:
    payload = Returns[int](int, what="the payload of signal 'upgrade'", misfit=InvalidInput)
    with pytest.raises(InvalidInput, match=r"the payload of signal 'upgrade' does not fit: should be"):
        payload.encode("5")
    with pytest.raises(InvalidInput, match=r"given 'x'"):
        payload.decode('"x"')
