"""What is measured: activities and workflows that do nothing, so that all the work is the engine's."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from holdfast import App, Signal, fan_out

app = App(schema="holdfast")


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A small typed value, as jobs are given."""

    number: int
    customer: str = "Acme"


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """A small typed value, as jobs give back."""

    number: int
    accepted: bool


@app.activity
async def noop(order: Order) -> Receipt:
    """The job: typed in, typed out, and nothing between."""
    return Receipt(number=order.number, accepted=True)


@app.activity
async def stamp() -> float:
    """When it began, by the clock that the database has too where both are on one machine."""
    return time.time()


@app.activity
async def step(n: int) -> int:
    """One step of a workflow."""
    return n + 1


go = Signal[int]("go")


@app.workflow
async def waits(n: int) -> int:
    """One step, and then a wait for a signal."""
    return await step(n) + await go.wait()


@app.workflow
async def steps(n: int) -> int:
    """So many steps, one after the other."""
    done = 0
    while done < n:
        done = await step(done)
    return done


@app.workflow
async def leaf(n: int) -> int:
    """A child that has nothing to do."""
    return n


@app.workflow
async def family(size: int) -> int:
    """So many children at once; the sum of what they give."""
    return sum(await asyncio.gather(*[leaf(n) for n in range(size)]))


@app.workflow
async def fan(size: int) -> int:
    """So many no-op activities at once; the sum of what they give."""
    return sum(await fan_out(step, range(size)))
