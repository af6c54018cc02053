"""Runs driven by hand pass both type checkers, strict, and each type is the one written here."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, assert_type
from uuid import UUID

from holdfast import (
    ActivityFailed,
    BlockingClient,
    BlockingDrivenConsumer,
    BlockingDrivenRun,
    BlockingRunHandle,
    BlockingStep,
    Client,
    DrivenConsumer,
    DrivenRun,
    RunHandle,
    Step,
    StepStatus,
)


async def use(client: Client) -> None:
    assert_type(await client.driven.create_workflow("process_task"), bool)
    assert_type(await client.driven.workflows(), Sequence[str])
    assert_type(await client.driven.trigger("process_task", {"id": 1}, key="k", priority="high"), RunHandle[Any])
    async with client.driven.consumer("process_task", visibility=timedelta(seconds=5)) as consumer:
        assert_type(consumer, DrivenConsumer)
        runs = await consumer.dequeue(batch_size=5, wait=timedelta(seconds=1))
        assert_type(runs, list[DrivenRun])
        run = runs[0]
        assert_type(run.id, UUID)
        assert_type(run.input, dict[str, Any])
        step = await run.acquire_step("fetch", key="one", current_time=datetime.now(UTC))
        assert_type(step, Step)
        assert_type(step.status, StepStatus)
        assert_type(step.error, ActivityFailed | None)
        await step.success({"any": "json"})
        await step.fail(ValueError("no"))
        await step.retry(after=timedelta(seconds=1), error="away")
        await run.pause("why", resume_after=timedelta(days=1))
        await run.complete(1)
        assert_type(await consumer.archive(run), bool)


def use_blocking(client: BlockingClient) -> None:
    assert_type(client.driven.trigger("process_task", {"id": 1}), BlockingRunHandle[Any])
    with client.driven.consumer("process_task") as consumer:
        assert_type(consumer, BlockingDrivenConsumer)
        runs = consumer.dequeue(batch_size=5)
        assert_type(runs, list[BlockingDrivenRun])
        assert_type(runs[0].acquire_step("fetch"), BlockingStep)
        assert_type(consumer.archive(runs[0]), bool)
