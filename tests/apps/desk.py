"""An app whose activities are completed from outside: they note their tokens in the ledger."""

from __future__ import annotations

from datetime import timedelta

from holdfast import App, Retry, activity_info, complete_later
from tests.apps.ledger import note

app = App()

TWICE = Retry(max_attempts=2, initial=timedelta(0))


class Refused(Exception):
    pass


def hand_over() -> None:
    info = activity_info()
    note("asked", info.key, info.attempt, info.token)


@app.activity(retry=TWICE)
async def ask(question: str) -> bool:
    hand_over()
    complete_later()


@app.activity(retry=TWICE)
def ask_in_a_thread(question: str) -> bool:
    hand_over()
    complete_later()


@app.activity(retry=TWICE, isolation="process")
def ask_in_a_process(question: str) -> bool:
    hand_over()
    complete_later()


@app.activity(retry=TWICE, timeout=timedelta(milliseconds=400))
async def ask_briefly(question: str) -> bool:
    hand_over()
    complete_later()


@app.workflow
async def asks(question: str) -> str:
    try:
        return "yes" if await ask(question) else "no"
    except Refused as refusal:
        return f"refused: {refusal}"


ASKING = {"loop": ask, "thread": ask_in_a_thread, "process": ask_in_a_process, "brief": ask_briefly}


@app.workflow
async def asks_by(how: str) -> bool:
    return await ASKING[how]("?")
