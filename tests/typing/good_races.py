"""Races and fan-outs: each place of the result has its own type."""

from __future__ import annotations

from datetime import timedelta
from typing import assert_type

from holdfast import App, First, Signal, fan_out, first_of, first_signal, shield, sleep, wait_until

app = App()

paid = Signal[int]("paid")
withdrawn = Signal[str]("withdrawn")


@app.activity
async def remind(order: int, *, again: bool = False) -> str:
    return f"{order} {again}"


@app.activity
def weigh(parcel: str) -> float:
    return float(len(parcel))


@app.workflow
async def collect(order: int) -> str:
    won = await first_of(paid.wait(), remind(order), sleep(timedelta(days=1)))
    if won.which == 0:
        assert_type(won.value, int)
    elif won.which == 1:
        assert_type(won.value, str)
    else:
        assert_type(won.value, None)
    match await first_of(paid.wait(), withdrawn.wait()):
        case (0, amount):
            assert_type(amount, int)
        case (1, why):
            assert_type(why, str)
    assert_type(await first_of(*[weigh(parcel) for parcel in "abc"]), First[int, float])
    got = await first_signal(paid, withdrawn, timeout=timedelta(days=14))
    if got.which == 0:
        assert_type(got.value, int)
        assert_type(got.signal, Signal[int])
    else:
        assert_type(got.value, str)
    assert_type(await fan_out(weigh, ["a", "b"], limit=3, key=str.upper), list[float])
    assert_type(await fan_out(remind, range(3), return_exceptions=True), list[str | Exception])
    assert_type(await shield(remind(order)), str)
    async with shield():
        await wait_until(lambda: order > 0, timeout=timedelta(seconds=1))
    return "done"
