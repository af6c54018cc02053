"""How the story of onboarding.py is tested: eleven days pass in an instant, and a crash changes nothing.

In this directory::

    pip install 'holdfast[embedded]' pytest pytest-asyncio
    pytest --asyncio-mode=auto
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import onboarding
import pytest
from onboarding import Signup, UpgradeDecision, trial_onboarding, upgrade

from holdfast import RunStatus
from holdfast.testing import Env, OpenEnv

ACME = Signup("Acme", "ada@acme.dev")
YES = UpgradeDecision(upgraded=True, plan="pro")
MARCH_1 = datetime(2026, 3, 1, 9, tzinfo=UTC)


@pytest.fixture
async def env(holdfast_env: OpenEnv) -> AsyncIterator[Env]:
    """The app with a worker, on a database for each test; it is nine o'clock on the first of March."""
    async with holdfast_env(onboarding.app, at=MARCH_1) as env:
        env.fake(onboarding.provision_workspace, returning="acme.example.com")
        yield env


async def test_who_wants_the_product_is_billed_when_the_trial_is_over(env: Env) -> None:
    bill = env.fake(onboarding.bill, returning="invoice 1")
    began = time.perf_counter()

    run = await env.start(trial_onboarding, ACME)
    await run.signal(upgrade, YES)
    await env.advance(days=10, hours=23)  # the decision does not end the trial
    assert bill.calls == []
    await env.advance(hours=1)

    assert await run.result() == "invoice 1"
    assert [call.arguments for call in bill.calls] == [{"workspace": "acme.example.com", "plan": "pro"}]
    assert time.perf_counter() - began < 1


async def test_who_does_not_decide_is_archived_after_thirty_days_more(env: Env) -> None:
    run = await env.start(trial_onboarding, ACME)

    assert await env.result(run) == "acme.example.com archived"
    assert env.now() == MARCH_1 + timedelta(days=41)


async def test_a_worker_that_dies_after_the_bill_was_written_does_not_write_another(env: Env) -> None:
    bill = env.fake(onboarding.bill, returning="invoice 1")
    env.crash_at("bill#1", when="after")
    run = await env.start(trial_onboarding, ACME)
    await run.signal(upgrade, YES)

    assert await env.result(run) == "invoice 1"
    assert len(bill.calls) == 1


async def test_a_mail_server_that_is_away_is_tried_again(env: Env) -> None:
    def away_at_first(email: str) -> str:
        if len(welcome.calls) < 3:
            raise ConnectionError("the mail server is away")
        return f"welcome, {email}"

    welcome = env.fake(onboarding.send_welcome, side_effect=away_at_first)
    run = await env.start(trial_onboarding, ACME)

    await env.advance(minutes=1)
    assert [call.attempt for call in welcome.calls] == [1, 2, 3]
    assert await run.status() is RunStatus.WAITING


async def test_what_a_run_has_seen_can_be_read_and_replayed(env: Env) -> None:
    env.fake(onboarding.bill, returning="invoice 1")
    run = await env.start(trial_onboarding, ACME)
    await env.settled()
    await run.signal(upgrade, YES)
    await env.result(run)

    journal = await env.journal(run)
    assert sorted(journal.keys[:2]) == ["provision_workspace#1", "send_welcome#1"]
    assert journal.keys[2:] == ["signal:upgrade#1", "timer#1", "bill#1"]
    assert journal["timer#1"].at == MARCH_1 + timedelta(days=11)
    await env.replay(journal)  # raises NonDeterminismError where the code has changed
