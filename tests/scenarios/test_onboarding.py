"""W1: two activities side by side, a rest of days, a signal, a branch."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta

import pytest

from holdfast import App, Retry, RunFailed, RunStatus, Signal, sleep
from tests.house import House
from tests.scenarios.soon import SOON


@dataclass
class Signup:
    company: str
    email: str


@dataclass
class UpgradeDecision:
    upgraded: bool
    plan: str


upgrade = Signal[UpgradeDecision]("upgrade")


class Story:
    """The app of the story, and what its activities have done."""

    def __init__(self, app: App) -> None:
        self.app = app
        self.done: list[str] = []

        @app.activity(retry=Retry(max_attempts=5, initial=timedelta(milliseconds=50)), timeout=timedelta(seconds=30))
        async def provision_workspace(company: str) -> str:
            self.done.append(f"provision {company}")
            return f"ws-{company.lower()}"

        @app.activity
        def send_welcome(email: str) -> None:
            self.done.append(f"welcome {email}")

        @app.activity
        async def charge(workspace: str, plan: str) -> str:
            self.done.append(f"charge {workspace} {plan}")
            return f"{plan}:{workspace}"

        @app.activity
        def remove_workspace(workspace: str) -> str:
            self.done.append(f"remove {workspace}")
            return "gone"

        @app.workflow(name="trial-onboarding")
        async def trial_onboarding(signup: Signup) -> str:
            workspace, _ = await asyncio.gather(provision_workspace(signup.company), send_welcome(signup.email))
            await sleep(timedelta(days=11))
            try:
                decision = await upgrade.wait(timeout=timedelta(days=30))
            except TimeoutError:
                return await remove_workspace(workspace)
            if decision.upgraded:
                return await charge(workspace, decision.plan)
            raise ValueError(f"{signup.company} does not want {decision.plan}")

        self.workflow = trial_onboarding


ACME = Signup("Acme", "ada@acme.dev")
FIRST_STEPS = {"provision_workspace#1", "send_welcome#1"}


async def test_a_trial_that_is_upgraded_while_the_run_rests(house: House) -> None:
    story = Story(house.app())
    client = await house.client(story.app)
    await house.worker(story.app)
    run = await client.start(story.workflow, ACME, key="signup:42")
    await house.parked(run.id)
    assert await run.status() is RunStatus.WAITING
    await run.signal(upgrade, UpgradeDecision(upgraded=True, plan="pro"))
    # It sleeps: a signal does not wake it before its time.
    await house.advance(timedelta(days=10, hours=23))
    other = await client.start(story.workflow, Signup("Other", "o@other.dev"))
    await house.parked(other.id)
    assert set(await house.journal(run.id)) == FIRST_STEPS
    await house.advance(timedelta(hours=1))
    assert await run.result(timeout=SOON) == "pro:ws-acme"
    journal = await house.journal(run.id)
    assert set(journal[:2]) == FIRST_STEPS
    # The signal was in the inbox, so it was journaled before the timer; the wait that was never armed leaves nothing.
    assert [key for key in journal[2:] if not key.startswith("timer")] == ["signal:upgrade#1", "charge#1"]
    assert "timer#1" in journal
    assert sorted(story.done) == sorted(
        ["provision Acme", "welcome ada@acme.dev", "provision Other", "welcome o@other.dev", "charge ws-acme pro"]
    )
    rested = await house.value(
        "select (select at from holdfast.journal where run_id = $1 and key = 'timer#1') - "
        "(select max(at) from holdfast.journal where run_id = $1 and kind = 1 and key <> 'charge#1')",
        run.id,
    )
    assert rested >= timedelta(days=11)
    again = await client.start(story.workflow, ACME, key="signup:42")
    assert (again.id, again.existing) == (run.id, True)
    await house.check_invariants()


async def test_a_trial_that_nobody_upgrades_ends_with_its_time(house: House) -> None:
    story = Story(house.app())
    client = await house.client(story.app)
    await house.worker(story.app, cached_runs=0)
    run = await client.start(story.workflow, ACME)
    await house.parked(run.id)
    await house.advance(timedelta(days=11, seconds=1))
    await house.until("select waits_inbox and bucket_id is null from holdfast.task where run_id = $1", run.id)
    assert await house.value(
        "select due_at - (select at from holdfast.journal where run_id = $1 and key = 'timer#1') "
        "from holdfast.task where run_id = $1",
        run.id,
    ) == timedelta(days=30)
    await house.advance(timedelta(days=30))
    assert await run.result(timeout=SOON) == "gone"
    assert await house.journal(run.id) in (
        ["provision_workspace#1", "send_welcome#1", "timer#1", "timer#2", "remove_workspace#1"],
        ["send_welcome#1", "provision_workspace#1", "timer#1", "timer#2", "remove_workspace#1"],
    )
    assert sorted(story.done) == ["provision Acme", "remove ws-acme", "welcome ada@acme.dev"]
    await house.check_invariants()


async def test_a_trial_that_is_turned_down_fails_with_its_own_words(house: House) -> None:
    story = Story(house.app())
    client = await house.client(story.app)
    await house.worker(story.app)
    run = await client.start(story.workflow, ACME)
    await house.parked(run.id)
    await house.advance(timedelta(days=12))
    await house.until("select waits_inbox and bucket_id is null from holdfast.task where run_id = $1", run.id)
    await run.signal(upgrade, UpgradeDecision(upgraded=False, plan="pro"))
    with pytest.raises(RunFailed, match="Acme does not want pro") as caught:
        await run.result(timeout=SOON)
    assert isinstance(caught.value.__cause__, ValueError)
    await house.check_invariants()
