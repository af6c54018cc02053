"""Compensation: an undo gets the result first, and then the arguments of the call."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import assert_type

from holdfast import App, Saga, Undone, saga

app = App()


@dataclass
class Order:
    number: int


@dataclass
class Payment:
    amount: int


@app.activity
async def charge(order: Order, *, currency: str = "EUR") -> Payment:
    return Payment(order.number)


@charge.compensate
@app.activity(timeout=timedelta(seconds=30))
async def refund(payment: Payment, order: Order, *, currency: str = "EUR") -> bool:
    return payment.amount == order.number


@app.activity
def book(order: Order) -> str:
    return str(order.number)


@book.compensate(even_if_unknown=True)
@app.activity
def cancel_booking(booking: str | None, order: Order) -> None:
    print(booking, order)


@app.activity
def note(text: str, times: int = 1) -> None:
    print(text * times)


@app.workflow
async def travel(order: Order) -> Payment:
    async with saga() as undo:
        assert_type(undo, Saga)
        undo.add(note, "left", times=2)
        undo.add(note.options(timeout=timedelta(seconds=5)), "left")
        await book(order)
        payment = await charge(order, currency="USD")
    assert_type(payment, Payment)
    assert_type(undo.outcomes, tuple[Undone, ...])
    assert_type(await refund(payment, order), bool)
    return payment
