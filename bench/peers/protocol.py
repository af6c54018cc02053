"""How an adapter and the benchmark talk: one JSON object per line, on the adapter's standard input and output.

A client answers each wish, ``{"do": "bulk", ...}``, with what came of it or with ``{"error": ...}``. A worker says
``{"executed": ..., "marks": [...]}`` when it has executed all that is expected, and answers each line that it is sent
with the same and ``delays``. Both end when their input does.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
import traceback
from collections.abc import Callable
from typing import Any, NoReturn, TextIO

from bench.peers.adapter import Client, Task, Worker
from bench.peers.errand import ERRANDS
from bench.peers.tally import Tally

URL = "BENCH_DATABASE_URL"
"""The variable of the environment that names the database, since everybody can read a command line."""


def serve(client: Callable[[], Client], worker: Callable[[], Worker]) -> NoReturn:
    """The main program of an adapter: ``client`` or ``worker``, and a JSON object with the rest of the task."""
    role, task = sys.argv[1], Task(url=os.environ[URL], **json.loads(sys.argv[2]))
    voice = _take_stdout()
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        if role == "client":
            runner.run(_serve_client(client(), task, voice))
        else:
            runner.run(_serve_worker(worker(), task, voice))
    # Whatever threads there are: the database is about to be dropped.
    _leave(0)


async def _serve_client(client: Client, task: Task, voice: TextIO) -> None:
    await client.open(task)
    while line := await asyncio.to_thread(sys.stdin.readline):
        wish = json.loads(line)
        try:
            _say(voice, dict(await ERRANDS[wish["do"]](client, wish)))
        except Exception as error:
            traceback.print_exc()
            cause = _first(error)
            _say(voice, {"error": f"{type(cause).__name__}: {cause}"})


async def _serve_worker(worker: Worker, task: Task, voice: TextIO) -> None:
    tally = Tally(task.expected)

    def announce() -> None:
        tally.is_complete.wait()
        _say(voice, {"executed": tally.count, "marks": tally.marks})

    def answer() -> None:
        for _ in sys.stdin:
            _say(voice, {"executed": tally.count, "marks": tally.marks, "delays": list(tally.delays)})
        _leave(0)

    threading.Thread(target=announce, daemon=True).start()
    threading.Thread(target=answer, daemon=True).start()
    await worker.run(task, tally)
    raise RuntimeError("the worker has ended by itself")


def _first(error: BaseException) -> BaseException:
    """What is behind a group of errors."""
    within: tuple[BaseException, ...] = getattr(error, "exceptions", ())
    return _first(within[0]) if within else error


def _say(voice: TextIO, what: dict[str, Any]) -> None:
    voice.write(json.dumps(what) + "\n")
    voice.flush()


def _take_stdout() -> TextIO:
    """Standard output for ourselves; what a library prints goes to standard error."""
    voice = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return voice


def _leave(code: int) -> NoReturn:
    sys.stderr.flush()
    os._exit(code)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """The quick loop, for everybody."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
