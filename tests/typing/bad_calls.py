"""What must not pass the type checkers. Each line that ends with `# wrong` is an error to both, no other line is."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from holdfast import App, Retry, Signal

app = App()


@dataclass
class Signup:
    company: str


@dataclass
class Decision:
    upgraded: bool


upgrade = Signal[Decision]("upgrade")


@app.activity
async def provision(company: str) -> str:
    return company


@app.activity(retry=Retry(max_attempts=3))
def send(email: str) -> int:
    return len(email)


@app.workflow(name="trial")
async def trial(signup: Signup) -> str:
    await provision(17)  # wrong
    await provision()  # wrong
    await provision(company="Acme", plan="pro")  # wrong
    number: int = await provision("Acme")  # wrong
    text: str = await send("ada@acme.dev")  # wrong
    unawaited: int = send("ada@acme.dev")  # wrong
    decision: str = await upgrade.wait()  # wrong
    await upgrade.wait(timeout="soon")  # wrong
    print(number, text, unawaited, decision)
    return signup.company


async def main() -> None:
    async with app.client() as client:
        run = await client.start(trial, Signup("Acme"))
        await client.start(trial, "Acme")  # wrong
        await client.start(trial)  # wrong
        await client.start(trial, Signup("Acme"), "more")  # wrong
        await client.start(trial, Signup("Acme"), priority="urgent")  # wrong
        await client.start(trial, Signup("Acme"), after=30)  # wrong
        await client.start(trial, Signup("Acme"), unknown=True)  # wrong
        await client.start_many([trial.call("Acme")])  # wrong
        trial.call(signup="Acme")  # wrong
        number: int = await run.result()  # wrong
        await run.signal(upgrade, "yes")  # wrong
        await run.signal("upgrade", Decision(True))  # wrong
        wrong_type: int = await client.get(run.id, trial).result()  # wrong
        print(number, wrong_type)


def settings() -> None:
    app.worker(lease=30)  # wrong
    app.worker(parallelism="2")  # wrong
    App(payload_limit="large")  # wrong
    Retry(max_attempts="three")  # wrong
    Retry(initial=timedelta(seconds=1), jitters=0.1)  # wrong


@app.workflow  # wrong
def not_async(signup: Signup) -> str:
    return signup.company


@app.activity(retries=3)  # wrong
def unknown_option(email: str) -> None:
    print(email)


@app.activity(lane="reports")  # wrong
def with_a_lane(email: str) -> None:
    print(email)


@app.lifespan  # wrong
async def needs_an_argument(url: str) -> str:
    return url
