"""OpenTelemetry: one trace from the client through workflow and activities to the last child, in whatever process."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode, get_current_span

from holdfast import (
    App,
    Connection,
    Retry,
    RunFailed,
    Signal,
    activity_info,
    complete_later,
    run_info,
    start_child,
)
from holdfast.telemetry.tracing import Tracing
from tests.house import House, eventually


class Traced:
    """A provider of spans that are kept in memory."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))

    def spans(self, name: str | None = None) -> list[ReadableSpan]:
        return [span for span in self._exporter.get_finished_spans() if name is None or span.name == name]

    async def until(self, name: str, count: int = 1) -> list[ReadableSpan]:
        return list(await eventually(lambda: self.spans(name)[count - 1 :] and self.spans(name), f"{count} {name}"))

    def endings(self, name: str) -> list[object]:
        return [(span.attributes or {}).get("holdfast.ending") for span in self.spans(name)]

    def parent(self, span: ReadableSpan) -> str | None:
        for other in self.spans():
            own = other.get_span_context()
            if span.parent is not None and own is not None and own.span_id == span.parent.span_id:
                return other.name
        return None


@pytest.fixture
def traced() -> Iterator[Traced]:
    traced = Traced()
    yield traced
    traced.provider.shutdown()


def app_of(house: House, traced: Traced) -> App:
    app = house.app()
    app.use(Tracing(tracer_provider=traced.provider))
    return app


async def test_a_run_is_one_trace_from_the_client_to_the_last_child(house: House, traced: Traced) -> None:
    app = app_of(house, traced)

    @app.activity
    async def on_the_loop() -> str:
        return format(get_current_span().get_span_context().trace_id, "032x")

    @app.activity
    def in_a_thread() -> str:
        return format(get_current_span().get_span_context().trace_id, "032x")

    @app.activity(transactional=True)
    async def in_a_transaction(db: Connection) -> str:
        return format(get_current_span().get_span_context().trace_id, "032x")

    @app.workflow
    async def leaf() -> str:
        return await on_the_loop()

    @app.workflow
    async def tree() -> list[str]:
        handle = await start_child(leaf)
        return [await in_a_thread(), await in_a_transaction(), await leaf(), await handle.result()]

    client = await house.client(app)
    await house.worker(app)
    tracer = traced.provider.get_tracer("test")
    with tracer.start_as_current_span("request"):
        run = await client.start(tree)
    found = await run.result()
    await eventually(lambda: "succeeded" in traced.endings("workflow tree"), "the last pass is over")
    (request,) = traced.spans("request")
    assert request.context is not None
    trace_id = format(request.context.trace_id, "032x")
    assert found == [trace_id] * 4
    assert {format(s.context.trace_id, "032x") for s in traced.spans() if s.context} == {trace_id}
    (start,) = traced.spans("start tree")
    assert (start.kind, traced.parent(start)) == (SpanKind.PRODUCER, "request")
    for span in traced.spans("workflow tree"):
        assert (span.kind, traced.parent(span)) == (SpanKind.CONSUMER, "start tree")
    for name in ("activity in_a_thread", "activity in_a_transaction", "workflow leaf"):
        assert {traced.parent(span) for span in traced.spans(name)} == {"workflow tree"}, name
    assert [traced.parent(span) for span in traced.spans("activity on_the_loop")] == ["workflow leaf"] * 2
    (thread,) = traced.spans("activity in_a_thread")
    assert thread.attributes is not None
    assert dict(thread.attributes) == {
        "holdfast.run_id": str(run.id),
        "holdfast.activity": "in_a_thread",
        "holdfast.key": "in_a_thread#1",
        "holdfast.attempt": 1,
        "holdfast.workflow": "tree",
    }


async def test_errors_are_in_the_spans_of_attempts_passes_and_starts(house: House, traced: Traced) -> None:
    app = app_of(house, traced)

    @app.activity(retry=Retry(max_attempts=1))
    async def fragile() -> None:
        raise LookupError("nothing there")

    @app.activity
    async def later() -> None:
        complete_later()

    @app.workflow
    async def flow() -> None:
        await fragile()

    client = await house.client(app)
    await house.worker(app)
    run = await client.start(flow)
    with pytest.raises(RunFailed):
        await run.result()
    (attempt,) = await traced.until("activity fragile")
    assert attempt.status.status_code is StatusCode.ERROR
    assert [event.name for event in attempt.events] == ["exception"]
    (one,) = await traced.until("workflow flow")
    assert one.status.status_code is StatusCode.ERROR
    assert one.status.description == "nothing there"
    assert one.attributes is not None
    assert one.attributes["error.type"] == "builtins:LookupError"
    # A job: its attempts are below its start. And what is completed from outside is no error.
    job = await client.start(later)
    (handed,) = await traced.until("activity later")
    assert (handed.kind, traced.parent(handed)) == (SpanKind.CONSUMER, "start later")
    assert handed.status.status_code is StatusCode.UNSET
    await job.cancel()


async def test_a_pass_says_that_it_was_parked_and_the_next_one_goes_on_in_the_same_trace(
    house: House, traced: Traced
) -> None:
    app = app_of(house, traced)
    go = Signal[str]("go")

    @app.activity
    async def noop() -> None: ...

    @app.workflow
    async def flow() -> str:
        word = await go.wait()
        await noop()
        return word

    client = await house.client(app)
    await house.worker(app)
    run = await client.start(flow)
    await traced.until("workflow flow")
    await run.signal(go, "now")
    assert await run.result() == "now"
    passes = await traced.until("workflow flow", 2)
    assert traced.endings("workflow flow") == ["parked", "succeeded"]
    assert len({one.context.trace_id for one in passes if one.context}) == 1
    (noop_span,) = traced.spans("activity noop")
    assert noop_span.parent is not None
    assert passes[1].context is not None
    assert noop_span.parent.span_id == passes[1].context.span_id


async def test_the_context_comes_through_processes_and_crashes(house: House, traced: Traced) -> None:
    app = app_of(house, traced)
    client = await house.client(app)
    first = await house.process("tests.apps.traced")
    tracer = traced.provider.get_tracer("test")
    with tracer.start_as_current_span("request") as span:
        trace_id = format(span.get_span_context().trace_id, "032x")
        run = await client.start_by_name("across", {"place": str(house.place)})
    await eventually((house.place / "begun").exists, "the first worker is at it")
    await first.kill()
    (house.place / "go").touch()
    await house.process("tests.apps.traced", "--lease", "2s")
    await house.db.execute("update holdfast.worker set lease_until = clock_timestamp()")
    traces = await run.result()
    assert [one.split("-")[1] for one in traces] == [trace_id] * 3


async def test_many_starts_are_one_span(house: House, traced: Traced) -> None:
    app = app_of(house, traced)

    @app.activity
    async def told() -> str:
        return activity_info().headers["traceparent"]

    @app.workflow
    async def flow() -> str:
        return run_info().headers["traceparent"]

    client = await house.client(app)
    await house.worker(app)
    runs = await client.start_many([flow.call() for _ in range(3)])
    assert len({await run.result() for run in runs}) == 1
    (start,) = traced.spans("start flow")
    assert start.attributes is not None
    assert start.attributes["holdfast.runs"] == 3


async def test_what_one_run_sets_current_is_not_current_for_the_engine_or_for_others(
    house: House, traced: Traced
) -> None:
    app = house.app()
    seen: list[Any] = []

    @app.activity
    async def noop() -> None: ...

    @app.workflow
    async def flow() -> None:
        await noop()

    class Bare(Tracing):
        async def workflow_pass(self, passing: Any, call_next: Any) -> Any:
            seen.append(get_current_span().get_span_context().is_valid)
            return await super().workflow_pass(passing, call_next)

    app.use(Bare(tracer_provider=traced.provider))
    client = await house.client(app)
    await house.worker(app)
    for _ in range(5):
        await (await client.start(flow)).result()
    assert seen == [False] * 5
