"""Runs per second of one worker process that has more than enough to do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from bench.database import Window
from bench.drain import Drain
from bench.figure import Figure
from bench.scenario import Measure
from bench.sitting import Sitting
from bench.tuning import Tuning
from bench.workload import Order, noop, steps
from holdfast import Call

PINNED_SHARE = "pinned ÷ without"


async def measure_jobs(sitting: Sitting, tuning: Tuning) -> Sequence[Figure]:
    """Async no-op jobs with typed input and output."""
    return await _measure(sitting, tuning, lambda n: noop.call(Order(number=n)), 0)


def workflows_of(count: int) -> Measure:
    """Workflows of so many sequential no-op steps."""

    async def measure(sitting: Sitting, tuning: Tuning) -> Sequence[Figure]:
        return await _measure(sitting, tuning, lambda _: steps.call(count), count)

    return measure


async def measure_pinned(sitting: Sitting, tuning: Tuning) -> Sequence[Figure]:
    """Workflows of three steps for long, with and without a transaction that keeps what is dead from being removed."""
    drain = Drain(sitting, tuning, lambda _: steps.call(3), steps=3, seconds=sitting.plan.long)
    pinned: list[Window] = []
    without: list[Window] = []
    for number in range(sitting.plan.repeat):
        for windows, is_pinned in ((without, False), (pinned, True)):
            windows.append(await drain.measure(pinned=is_pinned))
            _tell(sitting, number, windows[-1], "with a pinned xmin" if is_pinned else "without a pinned xmin")
    with_pin = Figure(name="runs/s with a pinned xmin", values=tuple(w.per_second for w in pinned))
    without_pin = Figure(name="runs/s without", values=tuple(w.per_second for w in without))
    return (
        with_pin,
        without_pin,
        with_pin.over(PINNED_SHARE, without_pin),
        Figure(name="last ÷ first tenth, pinned", values=tuple(w.decline for w in pinned)),
        Figure(name="last ÷ first tenth, without", values=tuple(w.decline for w in without)),
    )


async def _measure(
    sitting: Sitting, tuning: Tuning, call: Callable[[int], Call[Any]], step_count: int
) -> Sequence[Figure]:
    drain = Drain(sitting, tuning, call, steps=step_count, seconds=sitting.plan.seconds)
    paces: list[float] = []
    for number in range(sitting.plan.repeat):
        window = await drain.measure()
        _tell(sitting, number, window, f"{window.seconds:.1f} s")
        paces.append(window.per_second)
    return (Figure(name="runs/s", values=tuple(paces)),)


def _tell(sitting: Sitting, number: int, window: Window, remark: str) -> None:
    sitting.note(f"{number + 1} of {sitting.plan.repeat}: {window.per_second:,.0f} runs/s ({remark})")
