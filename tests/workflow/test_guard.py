"""The guard: files, sockets, processes and threads in workflow code, also where they do not go through the loop."""

from __future__ import annotations

import asyncio
import importlib
import logging
import os
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from holdfast.core.errors import ForbiddenInWorkflow
from holdfast.core.states import Ending
from holdfast.workflow.activity import Activity
from holdfast.workflow.clock import sleep
from holdfast.workflow.log import logger
from holdfast.workflow.workflow import Workflow
from tests.workflow.stage import Stage

FORBIDDEN: dict[str, tuple[Callable[[], Any], str]] = {
    "open": (lambda: open(__file__), "read and write files in an activity"),  # noqa: PTH123, SIM115
    "read_text": (lambda: Path(__file__).read_text(), "read and write files in an activity"),
    "listdir": (lambda: os.listdir("."), "read and write files in an activity"),  # noqa: PTH208
    "mkdir": (lambda: Path("never").mkdir(), "read and write files in an activity"),
    "sqlite": (lambda: sqlite3.connect(":memory:"), "use databases in an activity"),
    "socket": (socket.socket, "use the network in an activity"),
    "getaddrinfo": (lambda: socket.getaddrinfo("localhost", 80), "use the network in an activity"),
    "Popen": (lambda: subprocess.run(["true"], check=True), "start processes in an activity"),
    "kill": (lambda: os.kill(os.getpid(), 0), "start processes in an activity"),
    "fork": (os.fork, "start processes in an activity"),
    "input": (input, "wait for a Signal"),
    "thread": (lambda: threading.Thread(target=print).start(), "runs in a thread of the worker"),
    "pool": (lambda: ThreadPoolExecutor().submit(print), "runs in a thread of the worker"),
    "time.sleep": (lambda: time.sleep(0.001), "await holdfast.sleep()"),
}


def outcome(fn: Callable[[], Any]) -> Any:
    async def calls() -> None:
        fn()

    return Stage(Workflow(calls)).go().end


@pytest.mark.parametrize("what", FORBIDDEN)
def test_what_cannot_be_replayed_is_refused(what: str) -> None:
    call, instead = FORBIDDEN[what]
    failure = outcome(call).failure
    assert failure is not None
    assert failure.type == f"{ForbiddenInWorkflow.__module__}:ForbiddenInWorkflow"
    assert instead in failure.message


def test_the_message_names_the_file() -> None:
    assert repr(__file__) in outcome(lambda: Path(__file__).read_bytes()).failure.message


def test_outside_of_workflow_code_everything_is_as_it_was() -> None:
    assert Path(__file__).read_text(encoding="utf-8")

    async def outside() -> str:
        return await asyncio.to_thread(Path(__file__).read_text, encoding="utf-8")

    assert asyncio.run(outside())


def test_other_threads_do_as_they_like_during_an_activation() -> None:
    go, done = threading.Event(), threading.Event()
    read: list[str] = []

    def elsewhere() -> None:
        go.wait(10)
        read.append(Path(__file__).read_text(encoding="utf-8"))
        done.set()

    thread = threading.Thread(target=elsewhere)
    thread.start()

    async def busy() -> None:
        go.set()
        assert done.wait(10)

    assert Stage(Workflow(busy)).go().end is not None
    thread.join()
    assert read


def test_imports_are_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "reads_while_imported.py").write_text(
        "with open(__file__) as file:\n    text = file.read()\n", encoding="utf-8"
    )
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.delitem(sys.modules, "reads_while_imported", raising=False)
    importlib.invalidate_caches()
    assert outcome(lambda: importlib.import_module("reads_while_imported")).ending is Ending.SUCCEEDED


def test_time_zones_are_allowed() -> None:
    assert outcome(lambda: ZoneInfo.no_cache("Asia/Kathmandu")).ending is Ending.SUCCEEDED
    assert outcome(lambda: datetime(2026, 7, 1, tzinfo=ZoneInfo.no_cache("America/Lima"))).ending is Ending.SUCCEEDED


def test_tracebacks_are_allowed() -> None:
    def formats() -> str:
        import linecache

        linecache.clearcache()
        try:
            raise ValueError("x")
        except ValueError:
            return traceback.format_exc()

    assert outcome(formats).ending is Ending.SUCCEEDED


def test_logging_to_a_file_is_allowed(tmp_path: Path) -> None:
    plain = logging.getLogger("a workflow's plain logger")
    handler = logging.FileHandler(tmp_path / "log", delay=True, encoding="utf-8")
    plain.addHandler(handler)
    try:
        assert outcome(lambda: plain.warning("said")).ending is Ending.SUCCEEDED
    finally:
        plain.removeHandler(handler)
        handler.close()
    assert (tmp_path / "log").read_text(encoding="utf-8") == "said\n"


def test_what_is_forbidden_stays_so_while_an_instance_is_dropped(tmp_path: Path) -> None:
    @Workflow
    async def writes_at_the_end() -> None:
        try:
            await sleep(60)
        finally:
            (tmp_path / "written").write_text("x", encoding="utf-8")

    stage = Stage(writes_at_the_end)
    stage.go()
    stage.instance.close()
    assert not (tmp_path / "written").exists()


def test_a_logger_is_silent_on_replay(caplog: pytest.LogCaptureFixture) -> None:
    @Activity
    async def act(n: int) -> int:
        return n

    @Workflow
    async def says() -> None:
        logger.warning("before")
        for n in range(3):
            await act(n)
            logger.warning("after %s", n)

    def said() -> list[str]:
        words = [record.getMessage() for record in caplog.records]
        caplog.clear()
        return words

    stage = Stage(says)
    stage.go()
    stage.work("act#1")
    record = caplog.records[0]
    assert (record.name, record.__dict__["workflow"]) == ("holdfast.run", "says")
    assert record.__dict__["run_id"] == str(stage.info.run_id)
    assert said() == ["before", "after 0"]

    stage.move()
    assert said() == []
    stage.work("act#2")
    assert said() == ["after 1"]

    # What follows the last entry may not have been executed before, if the process was killed: then it is said.
    stage.move(resumed=False)
    assert said() == ["after 1"]
    stage.work("act#3")
    assert said() == ["after 2"]

    logger.warning("elsewhere")
    assert said() == ["elsewhere"]
