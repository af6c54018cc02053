"""The same no-op job with and without limits that it never reaches: what they cost by being there.

An app of its own, because a worker with limits makes one claim more than others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from bench.database import Window
from bench.drain import Drain
from bench.figure import Figure
from bench.sitting import Sitting
from bench.tuning import Tuning
from bench.workload import Order, Receipt, noop
from holdfast import App, Call, Limit

GLOBAL_SHARE = "with a global limit ÷ without"

_APP = "bench.limited:app"
_CUSTOMERS = 100

app = App(schema="holdfast")


@app.activity(concurrency=Limit(10_000))
async def limited(order: Order) -> Receipt:
    """The job, with a limit in all."""
    return Receipt(number=order.number, accepted=True)


@app.activity(concurrency=Limit(1_000, per="order.customer"))
async def limited_each(order: Order) -> Receipt:
    """The job, with a limit for each of a hundred keys."""
    return Receipt(number=order.number, accepted=True)


async def measure_limits(sitting: Sitting, tuning: Tuning) -> Sequence[Figure]:
    """No-op jobs without a limit, with one in all, and with one for each customer, in turns."""
    kinds: dict[str, tuple[Drain, list[Window]]] = {}

    def add(name: str, call: Callable[[int], Call[Any]], **options: Any) -> None:
        kinds[name] = (Drain(sitting, tuning, call, steps=0, seconds=sitting.plan.seconds, **options), [])

    add("without", lambda n: noop.call(Order(number=n)))
    add("with a global limit", lambda n: limited.call(Order(number=n)), app=_APP)
    add(
        "with a limit per key",
        lambda n: limited_each.call(Order(number=n, customer=f"customer {n % _CUSTOMERS}")),
        app=_APP,
    )
    for number in range(sitting.plan.repeat):
        for name, (drain, windows) in kinds.items():
            windows.append(await drain.measure())
            pace = windows[-1].per_second
            sitting.note(f"{number + 1} of {sitting.plan.repeat}: {pace:,.0f} runs/s {name}")
    figures = {
        name: Figure(name=f"runs/s {name}", values=tuple(window.per_second for window in windows))
        for name, (_, windows) in kinds.items()
    }
    without, in_all, each = figures.values()
    return (
        in_all,
        without,
        each,
        in_all.over(GLOBAL_SHARE, without),
        each.over("with a limit per key ÷ without", without),
    )
