"""What type checkers say of a client's verbs. Never executed: `./dev check` reads it.

Each line that must not type-check says which complaint it must get; both checkers report where there is none.
"""

# pyright: reportUnnecessaryTypeIgnoreComment=error

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, assert_type
from uuid import UUID

from holdfast import App, AttemptView, Effect, Key, Progress, Retry, Signal, Tally
from holdfast.client import Cancellation, Client, Page, RunHandle, RunSummary

app = App()


@dataclass
class Signup:
    company: str


@app.workflow(name="trial-onboarding")
async def trial_onboarding(signup: Signup, seats: int) -> str:
    return signup.company * seats


@app.workflow
async def with_default(signup: Signup, plan: str = "free") -> None: ...


@app.activity
def charge(amount: int) -> float:
    return float(amount)


@app.activity(timeout=timedelta(seconds=1))
async def refund(amount: int) -> float:
    return float(amount)


upgrade = Signal[int]("upgrade")


async def starts(client: Client, run_id: UUID) -> None:
    run = await client.start(trial_onboarding, Signup("Acme"), 3, key="signup:42")
    assert_type(run, RunHandle[str])
    assert_type(await run.result(timeout=timedelta(seconds=1)), str)
    assert_type(await client.start(charge, 5), RunHandle[float])
    assert_type(await client.start(refund, 5, priority="high"), RunHandle[float])
    assert_type(await client.start(with_default.call(Signup("Acme"))), RunHandle[None])
    assert_type(await client.start(with_default.call(plan="pro", signup=Signup("Acme"))), RunHandle[None])
    assert_type(await client.start_many([charge.call(n) for n in range(3)]), list[RunHandle[float]])
    assert_type(await client.start_by_name("elsewhere", {"a": 1}), RunHandle[Any])
    hourly = Key("charge", window=timedelta(hours=1), taken="replace")
    assert_type(await client.start(charge, 5, key=hourly, retry=Retry(max_attempts=2)), RunHandle[float])
    assert_type(await client.start_many([charge.call(1)], keys=[hourly], retry=Retry()), list[RunHandle[float]])
    assert_type(await client.start_by_name("charge", {"n": 1}, key=Key("k", window="open"), job=True), RunHandle[Any])
    assert_type(await client.list(kind="job"), Page[RunSummary])
    assert_type(client.get(run_id, trial_onboarding), RunHandle[str])
    assert_type(client.get(str(run_id), charge), RunHandle[float])
    assert_type(client.get(run_id), RunHandle[Any])
    assert_type(await client.list(status=["ready", "failed"]), Page[RunSummary])


async def moves(client: Client, run: RunHandle[str]) -> None:
    assert_type(await run.reschedule(after=timedelta(hours=1), priority="low", lane="slow"), Effect)
    assert_type(await client.runs(kind="job").reschedule(lane="slow"), Tally)
    assert_type(await run.progress(), Progress | None)
    assert_type(await run.next_progress(), Progress | None)
    async for progress in run.watch_progress():
        assert_type(progress, Progress)
    assert_type(await run.attempts(), Sequence[AttemptView])
    await run.reschedule(priority="urgent")  # type: ignore[arg-type]
    await client.start(charge, 5, key=Key("k", window="sometimes"))  # type: ignore[arg-type]
    await client.start(charge, 5, key=Key("k", taken="maybe"))  # type: ignore[arg-type]
    await client.start(charge, 5, retry=3)  # type: ignore[call-overload]


async def sends(run: RunHandle[str]) -> None:
    assert_type(await run.signal(upgrade, 5, key="once"), bool)
    assert_type(await run.cancel(), Cancellation)
    general: RunHandle[object] = run
    del general


async def completes(client: Client) -> None:
    await client.complete("token", 1.5, charge)
    await client.complete("token", {"any": "json"})
    await client.fail("token", ValueError("no"))
    await client.fail("token", "no")


async def mistakes(client: Client, run: RunHandle[str]) -> None:
    signup = Signup("Acme")
    await client.complete("token", "1.5", charge)  # type: ignore[misc]
    await client.fail("token", 5)  # type: ignore[arg-type]
    await client.start(trial_onboarding, signup, "3")  # type: ignore[call-arg, arg-type]
    await client.start(trial_onboarding, signup)  # type: ignore[arg-type]
    await client.start(trial_onboarding)  # type: ignore[call-arg, arg-type]
    await client.start(trial_onboarding, signup, 3, 4)  # type: ignore[call-arg, arg-type]
    await client.start(charge, 3, key=42)  # type: ignore[call-overload]
    await client.start(charge, 3, priority="urgent")  # type: ignore[call-overload]
    await client.start(charge, 3, lanes="mail")  # type: ignore[call-overload]
    trial_onboarding.call(signup, "3")  # type: ignore[arg-type]
    trial_onboarding.call(signup, seat=3)  # type: ignore[call-arg]
    await client.start_many([trial_onboarding])  # type: ignore[arg-type]
    await run.signal(upgrade, "5")  # type: ignore[misc]
    client.get(5, trial_onboarding)  # type: ignore[call-overload]
    number: int = await run.result()  # type: ignore[assignment]
    del number
