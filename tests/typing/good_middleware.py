"""Middleware, headers and listeners: they pass both type checkers, strict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, assert_type
from uuid import UUID

from holdfast import (
    ActivityInfo,
    App,
    CallNext,
    Event,
    Middleware,
    PassOutcome,
    RunFinished,
    Starting,
    WorkflowPass,
    activity_info,
    run_info,
)

app = App()


class All(Middleware):
    async def start(self, starting: Starting, call_next: CallNext[Sequence[UUID]]) -> Sequence[UUID]:
        assert_type(starting.headers, dict[str, str])
        return await call_next()

    async def activity(self, info: ActivityInfo, call_next: CallNext[Any]) -> Any:
        assert_type(info.headers, Mapping[str, str])
        return await call_next()

    async def workflow_pass(self, passing: WorkflowPass, call_next: CallNext[PassOutcome]) -> PassOutcome:
        outcome = await call_next()
        assert_type(outcome, PassOutcome)
        assert_type(outcome.error_message, str | None)
        return outcome


app.use(All())


@app.on(RunFinished)
def ended(event: RunFinished) -> None:
    assert_type(event.status == "failed", bool)


def anything(event: Event) -> None:
    print(event)


app.on(Event, anything)
app.on(RunFinished, anything)
app.worker().on(RunFinished, ended)


@app.activity
async def told() -> str:
    assert_type(activity_info().headers, Mapping[str, str])
    return activity_info().headers["tenant"]


@app.workflow
async def flow() -> str:
    assert_type(run_info().headers, Mapping[str, str])
    return await told()


async def started() -> str:
    async with app.client() as client:
        return await (await client.start(flow, headers={"tenant": "acme"})).result()
