"""Updates: what is sent and what is answered have their types on both sides."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, assert_type

from holdfast import App, Update, UpdateCall, first_of, sleep

app = App()


@dataclass
class Decision:
    approved: bool


@dataclass
class Receipt:
    number: int


approve = Update[Decision, Receipt]("approve")


@approve.validator
def is_something(decision: Decision) -> None:
    print(decision.approved)


@app.workflow
async def flow() -> int:
    async for call in approve.calls():
        assert_type(call, UpdateCall[Decision, Receipt])
        assert_type(call.input, Decision)
        call.reply(Receipt(1))
        call.reject("no")
        call.reject(ValueError("no"))
    won = await first_of(approve.wait(timeout=timedelta(days=1)), sleep(5))
    if won.which == 0:
        assert_type(won.value.input.approved, bool)
    return 1


async def main() -> None:
    is_something(Decision(True))
    async with app.client() as client:
        run = await client.start(flow)
        assert_type(await run.update(approve, Decision(True), key="k", timeout=timedelta(seconds=1)), Receipt)
        assert_type(await run.update_by_name("approve", {"approved": True}), Any)
