"""Log lines say which run, step, attempt and worker they are of; as JSON, machines read them."""

from __future__ import annotations

import json
import logging
from io import StringIO
from typing import Any

import pytest

from holdfast import JsonLines, LogContext, Signal, get_logger
from tests.house import House, eventually


def lines_of(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture
def stream() -> Any:
    """What is logged here, as JSON lines."""
    stream = StringIO()
    handler = logging.StreamHandler(stream)
    handler.addFilter(LogContext())
    handler.setFormatter(JsonLines())
    root = logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    yield stream
    root.removeHandler(handler)
    root.setLevel(before)


async def test_lines_of_workflows_activities_and_the_engine_say_what_they_are_of(
    house: House, stream: StringIO
) -> None:
    app = house.app()
    log = get_logger("shop")
    go = Signal[str]("go")

    @app.activity
    async def on_the_loop() -> None:
        logging.getLogger("loop").info("here")

    @app.activity
    def in_a_thread() -> None:
        logging.getLogger("thread").info("here", extra={"customer": "acme", "order": object()})

    @app.workflow
    async def flow() -> None:
        log.info("begins")
        await on_the_loop()
        await in_a_thread()
        await go.wait()
        log.info("ends")

    client = await house.client(app)
    worker = await house.worker(app, cached_runs=0)
    assert worker.worker is not None
    name = worker.worker.name
    run = await client.start(flow)
    await house.parked(run.id)
    await run.signal(go, "now")
    await run.result()
    await (await client.start(on_the_loop)).result()
    lines = lines_of(stream.getvalue())
    of_run = {"run_id": str(run.id), "run_name": "flow", "worker": name}
    mine = [
        {name: value for name, value in line.items() if name not in {"time", "order"}}
        for line in lines
        if line["logger"] in {"shop", "loop", "thread"}
    ]
    # The code was replayed in between: each line is there once.
    assert mine[:4] == [
        {"level": "info", "logger": "shop", "message": "begins", **of_run},
        {"level": "info", "logger": "loop", "message": "here", **of_run, "step": "on_the_loop#1", "attempt": 1},
        {
            "level": "info",
            "logger": "thread",
            "message": "here",
            **of_run,
            "step": "in_a_thread#1",
            "attempt": 1,
            "customer": "acme",
        },
        {"level": "info", "logger": "shop", "message": "ends", **of_run},
    ]
    assert mine[4]["run_name"] == "on_the_loop"
    assert any("object" in line.get("order", "") for line in lines)
    begins = [line for line in lines if line["logger"] == "holdfast.worker" and "begins" in line["message"]]
    assert [line["worker"] for line in begins] == [name]
    assert all(line["time"].endswith("+00:00") for line in lines)


async def test_what_the_engine_says_about_a_run_names_it(house: House, stream: StringIO) -> None:
    app = house.app()

    @app.workflow
    async def stuck() -> None:
        import asyncio

        await asyncio.get_running_loop().create_future()

    client = await house.client(app)
    await house.worker(app)
    run = await client.start(stuck)
    await eventually(lambda: "is blocked" in stream.getvalue(), "it is logged")
    (line,) = [line for line in lines_of(stream.getvalue()) if "is blocked" in line["message"]]
    assert (line["run_id"], line["run_name"], line["level"]) == (str(run.id), "stuck", "error")
    assert line["worker"]


async def test_the_worker_command_writes_json_also_what_a_process_of_an_activity_says(house: House) -> None:
    process = await house.process("tests.apps.headed_jobs", "--log-format", "json")
    client = await house.client(house.app())
    run = await client.start_by_name("order", {"number": 7})
    await house.ended(run.id, patience=60)
    name = await process.name()
    lines = lines_of(house.log())
    mine = [line for line in lines if line["logger"].startswith("shop")]
    assert [(one["logger"], one["message"]) for one in mine] == [
        ("shop.orders", "order 7"),
        ("shop.bank", "charging 7"),
        ("shop.render", "rendering 7"),
        ("shop.render", "a page is white"),
        ("shop.orders", "total 14"),
    ]
    for one in mine:
        assert (one["run_id"], one["run_name"], one["worker"]) == (str(run.id), "order", name), one
    assert [(one.get("step"), one.get("attempt")) for one in mine] == [
        (None, None),
        ("charge#1", 1),
        ("render#1", 1),
        ("render#1", 1),
        (None, None),
    ]
    assert "ValueError: no ink" in mine[3]["exception"]
    assert mine[1]["customer"] == "acme"
    engine = [line for line in lines if line["logger"] == "holdfast.worker"]
    assert engine
    assert {line["worker"] for line in engine} == {name}


def test_a_record_from_anywhere_is_a_line() -> None:
    record = logging.LogRecord("x", logging.WARNING, "f.py", 1, "a %s\nb", ("word",), None)
    record.custom = [1, 2]
    assert LogContext().filter(record)
    line = json.loads(JsonLines().format(record))
    assert (line["message"], line["level"], line["custom"]) == ("a word\nb", "warning", "[1, 2]")
    assert "run_id" not in line
    assert "\n" not in JsonLines().format(record)
