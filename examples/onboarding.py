"""A trial of a product, from the first day to the decision: a workflow that lasts for weeks.

In this directory::

    python onboarding.py                     # starts a run, and sends it a signal
    holdfast worker --app onboarding:app     # executes it; in as many terminals as you like
    holdfast run list
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta

from holdfast import App, Retry, Signal, sleep

app = App()  # HOLDFAST_DATABASE_URL, DATABASE_URL, holdfast.toml, .env, or an embedded Postgres


@dataclass
class Signup:
    """Who signed up, and for how long they try the product."""

    company: str
    email: str
    trial: timedelta = timedelta(days=11)


@dataclass
class UpgradeDecision:
    """What they decided at the end."""

    upgraded: bool
    plan: str


upgrade = Signal[UpgradeDecision]("upgrade")


@app.activity(retry=Retry(max_attempts=5, initial=timedelta(seconds=1)), timeout=timedelta(seconds=30))
async def provision_workspace(company: str) -> str:
    """Makes the workspace, and gives its address."""
    await asyncio.sleep(0.2)
    return f"{company.lower()}.example.com"


@app.activity
def send_welcome(email: str) -> str:
    """Not async, so it runs in a thread; it is awaited like any activity."""
    return f"welcome, {email}"


@app.activity
async def bill(workspace: str, plan: str) -> str:
    """The first invoice."""
    await asyncio.sleep(0.2)
    return f"invoice for {workspace}, plan {plan}"


@app.activity
async def archive(workspace: str) -> str:
    """Puts away what nobody wanted to keep."""
    return f"{workspace} archived"


@app.workflow(name="trial-onboarding")
async def trial_onboarding(signup: Signup) -> str:
    """Welcomes, waits for the trial to end, then for the decision; without one for 30 days, archives."""
    workspace, _ = await asyncio.gather(provision_workspace(signup.company), send_welcome(signup.email))
    await sleep(signup.trial)  # a row, not a coroutine in memory
    try:
        decision = await upgrade.wait(timeout=timedelta(days=30))
    except TimeoutError:
        return await archive(workspace)
    if not decision.upgraded:
        return await archive(workspace)
    return await bill(workspace, decision.plan)


async def main() -> None:
    async with app.client() as client:  # a client never executes
        run = await client.start(trial_onboarding, Signup("Acme", "ada@acme.dev"), key="signup:42")
        await run.signal(upgrade, UpgradeDecision(upgraded=True, plan="pro"), key="decision:42")
        print(run.id, (await run.describe()).status)


if __name__ == "__main__":
    asyncio.run(main())
