"""The example that introduces Holdfast: it passes both type checkers, strict, and each type is the one written here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from typing import assert_type

from holdfast import (
    App,
    CheckReport,
    ChildHandle,
    LintReport,
    Retry,
    RunExport,
    RunHandle,
    RunStatus,
    Signal,
    continue_as_new,
    patched,
    run_info,
    sleep,
    start_child,
)

app = App()


@dataclass
class Signup:
    company: str
    email: str


@dataclass
class UpgradeDecision:
    upgraded: bool
    plan: str


upgrade = Signal[UpgradeDecision]("upgrade")


@app.activity(retry=Retry(max_attempts=5, initial=timedelta(seconds=1)), timeout=timedelta(seconds=30))
async def provision_workspace(company: str) -> str:
    return company


@app.activity
def send_welcome(email: str) -> None:
    print(email)


@app.activity(name="measure")
def measure(text: str, *, wide: bool = False) -> int:
    return len(text) * (1 + wide)


@app.activity(isolation="process")
def render(pages: int) -> bytes:
    return b"x" * pages


@app.activity(lane="gpu", timeout=timedelta(minutes=5))
async def paint(pages: int) -> str:
    return "x" * pages


@app.workflow(name="trial-onboarding")
async def trial_onboarding(signup: Signup) -> str:
    workspace, _ = await asyncio.gather(provision_workspace(signup.company), send_welcome(signup.email))
    assert_type(workspace, str)
    assert_type(await paint.options(lane="big-gpu")(3), str)
    await sleep(timedelta(days=11))
    assert_type(patched("longer-trial"), bool)
    decision = await upgrade.wait(timeout=timedelta(days=30))
    assert_type(decision, UpgradeDecision)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(measure(workspace, wide=True))
    assert_type(await task, int)
    assert_type(await asyncio.wait_for(measure(workspace), 5), int)
    assert_type(await render(3), bytes)
    assert_type(await measure.options(key="again")(workspace), int)
    return f"{workspace}: {decision.plan if decision.upgraded else 'not upgraded'}"


@app.workflow(name="count", version=1)
async def count_before(texts: list[str]) -> int:
    return len(texts)


@app.workflow(name="count", version="2026-03-01")
async def count_now(texts: list[str]) -> list[int]:
    return [len(text) for text in texts]


@app.workflow
async def count_all(texts: list[str], wide: bool) -> list[int]:
    counts = await asyncio.gather(*(measure(text, wide=wide) for text in texts))
    assert_type(counts, list[int])
    return counts


@app.workflow
async def families(texts: list[str]) -> str:
    assert_type(await count_all(texts, True), list[int])
    counts, onboarded = await asyncio.gather(count_all(texts, wide=True), trial_onboarding(Signup("A", "a@a")))
    assert_type(counts, list[int])
    assert_type(onboarded, str)
    options = count_all.options(key="again", lane="jobs", priority="low", tags={"a": "b"}, timeout=timedelta(days=1))
    assert_type(await options(texts, True), list[int])
    handle = await start_child(count_all, texts, False, on_parent_close="wait", lane="jobs")
    assert_type(handle, ChildHandle[list[int]])
    assert_type(await handle.result(), list[int])
    assert_type(await start_child(count_all.call(texts, wide=True)), ChildHandle[list[int]])
    await handle.signal(upgrade, UpgradeDecision(True, "pro"))
    await handle.cancel()
    print(handle.run_id.hex, run_info().parent, run_info().root.hex)
    if texts:
        continue_as_new(texts[1:])
    families.continue_as_new(texts)


@app.lifespan
async def database() -> AsyncIterator[list[str]]:
    yield ["a", "pool"]


@app.activity
async def look_up(index: int) -> str:
    assert_type(database.value, list[str])
    return database.value[index]


async def main() -> None:
    async with app.client() as client:
        run = await client.start(trial_onboarding, Signup("Acme", "ada@acme.dev"), key="signup:42")
        assert_type(run, RunHandle[str])
        await run.signal(upgrade, UpgradeDecision(True, "pro"))
        print(run.id, (await run.describe()).status)
        assert_type((await run.describe()).status, RunStatus)
        assert_type(await run.result(timeout=timedelta(seconds=3)), str)
        assert_type(await (await client.start(count_all, ["a"], True)).result(), list[int])
        assert_type(await (await client.start(count_now, ["a"])).result(), list[int])
        assert_type((await client.list(name="count", version=1)).items[0].version, str | None)
        assert_type(await run.export(), RunExport)
        assert_type(app.check((await client.sample(10)).runs), CheckReport)
        assert_type(app.lint(), LintReport)
        job = await client.start(measure.call("abc", wide=True), lane="jobs", priority="very-low")
        assert_type(await job.result(), int)
        many = await client.start_many(
            [trial_onboarding.call(Signup("B", "b@b")), trial_onboarding.call(signup=Signup("C", "c"))]
        )
        assert_type(many, list[RunHandle[str]])
        assert_type(client.get(run.id, trial_onboarding), RunHandle[str])


async def worker() -> None:
    async with app.worker(lane="jobs", parallelism_factor=2.0, buckets={"critical": 2}):
        await main()
    await app.worker(lease=timedelta(seconds=30)).run()
