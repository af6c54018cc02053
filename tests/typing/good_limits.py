"""Limits and batches: a batch is called with one item, and gives the result of that."""

from __future__ import annotations

from datetime import timedelta
from typing import assert_type

from holdfast import App, Debounce, Limit, LimitSummary, Rate, RunHandle, Throttle

app = App()


@app.activity(concurrency=5)
async def plain(customer: str) -> int:
    return len(customer)


@app.activity(concurrency=[Limit(5, per="customer"), Limit(100)], rate=Rate(10, per=timedelta(seconds=1), burst=3))
def threaded(customer: str) -> int:
    return len(customer)


@app.workflow(concurrency=Limit(1), rate=[Rate(1, per=timedelta(seconds=1), key="customer")])
async def flow(customer: str) -> int:
    return await plain(customer) + await index(customer) + await threaded(customer)


@app.batch(size=100, wait=timedelta(seconds=2))
async def index(customers: list[str]) -> list[int]:
    return [len(one) for one in customers]


@app.batch(size=100, wait=timedelta(seconds=2), concurrency=Limit(1))
def forget(customers: list[str]) -> None:
    print(customers)


@app.activity(debounce=Debounce(timedelta(seconds=5), per="customer", at_most=timedelta(minutes=1)), fair="customer")
async def last(customer: str) -> int:
    return len(customer)


@app.workflow(throttle=[Throttle(1, per=timedelta(hours=1), key="customer"), Throttle(10, per=timedelta(hours=1))])
async def reminder(customer: str) -> int:
    return await last(customer)


async def main() -> None:
    async with app.client() as client:
        assert_type(await client.start(index, "acme"), RunHandle[int])
        assert_type(await client.start(forget.call("acme")), RunHandle[None])
        assert_type(list(await client.limits.list(name="last")), list[LimitSummary])
        assert_type(await index("acme"), int)
        assert_type(await forget("acme"), None)
