"""What attempts say of themselves, and completions from outside: this file has no type error."""

from __future__ import annotations

from datetime import timedelta
from typing import assert_type

from holdfast import App, activity_info, complete_later, heartbeat
from holdfast.client import Client

app = App()


@app.activity(heartbeat_timeout=timedelta(seconds=5), isolation="process")
def copies(path: str) -> int:
    info = activity_info()
    assert_type(info.token, str)
    assert_type(info.cancelled, bool)
    assert_type(heartbeat({"copied": 1}), bool)
    assert_type(heartbeat(), bool)
    return len(path)


@app.activity(lane="people")
async def ask(question: str) -> str:
    print(question, activity_info().token)
    complete_later()


async def answer(client: Client, token: str) -> None:
    await client.complete(token, "yes", ask)
    await client.complete(token, 5, copies)
    await client.complete(token, {"any": "value"})
    await client.complete(token)
    await client.fail(token, "nobody answers")


@app.workflow
async def interview(question: str) -> int:
    assert_type(await ask(question), str)
    assert_type(await copies(question), int)
    return await copies(await ask(question))
