"""A backlog of very many jobs: how quickly it is worked off, and how much memory that takes."""

from __future__ import annotations

from collections.abc import Sequence

from bench.drain import Drain
from bench.figure import Figure
from bench.sitting import Sitting
from bench.tuning import Tuning
from bench.workload import Order, noop

WORKER_GROWTH = "memory beyond that of 1,000, MB"

_FEW = 1000


async def measure_backlog(sitting: Sitting, tuning: Tuning) -> Sequence[Figure]:
    """``--parked`` no-op jobs that are due before the worker is started; and 1,000, for its memory."""
    plan, count = sitting.plan, sitting.plan.parked
    drain = Drain(sitting, tuning, lambda n: noop.call(Order(number=n)), steps=0, seconds=plan.seconds)
    paces: list[float] = []
    growth: list[float] = []
    peaks: list[float] = []
    for number in range(plan.repeat):
        few = await drain.empty(_FEW, profiled=False)
        many = await drain.empty(count, warm_up=plan.warm_up, cool_down=plan.cool_down)
        paces.append(many.window.per_second)
        peaks.append(many.peak)
        growth.append(max(0.0, many.peak - few.peak))
        sitting.note(
            f"{number + 1} of {plan.repeat}: {paces[-1]:,.0f} runs/s over {many.window.seconds:.1f} s, "
            f"{peaks[-1]:.0f} MB, {growth[-1]:.0f} MB more than for {_FEW:,}"
        )
    return (
        Figure(name="runs/s", values=tuple(paces)),
        Figure(name=WORKER_GROWTH, values=tuple(growth)),
        Figure(name="most memory, MB", values=tuple(peaks)),
    )
