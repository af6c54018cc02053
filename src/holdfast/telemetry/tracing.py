"""OpenTelemetry: spans around starts, workflow passes and attempts, in one trace from the client to the last child.

The context travels in the headers of a run, as the propagator that the program has set writes it: by default W3C's
``traceparent``. Only the API is needed here; what becomes of the spans is for the program to say, with an SDK.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from uuid import UUID

from holdfast.core.chain import CallNext
from holdfast.core.errors import ConfigurationError
from holdfast.workflow.middleware import Middleware, PassOutcome, WorkflowPass

try:
    from opentelemetry import propagate, trace
    from opentelemetry.trace import Span, SpanKind, Status, StatusCode
except ImportError as error:  # pragma: no cover - in an environment without the extra
    raise ConfigurationError("tracing needs OpenTelemetry: pip install 'holdfast[otel]'") from error

if TYPE_CHECKING:
    from opentelemetry.trace import TracerProvider

    from holdfast.client.starting import Starting
    from holdfast.workflow.attempted import ActivityInfo


class Tracing(Middleware):
    """``app.use(Tracing())``: a span for each start, each pass of a workflow and each attempt at an activity.

    The span of a start is the parent of the run's passes, and of a job's attempts; the span of a pass is the parent of
    the attempts and of the children that the run starts in it. So a run is one trace, in whatever processes it is.

    Args:
        tracer_provider: Whose spans they are; by default the program's.
    """

    def __init__(self, *, tracer_provider: TracerProvider | None = None) -> None:
        self._tracer = trace.get_tracer("holdfast", tracer_provider=tracer_provider)

    async def start(self, starting: Starting, call_next: CallNext[Sequence[UUID]]) -> Sequence[UUID]:
        """A producer's span, below the one that is current where the start is made."""
        with self._tracer.start_as_current_span(f"start {', '.join(starting.names)}", kind=SpanKind.PRODUCER) as span:
            span.set_attributes({"holdfast.lane": starting.lane, "holdfast.priority": starting.priority})
            propagate.inject(starting.headers)
            ids = await call_next()
            if starting.count == 1:
                span.set_attribute("holdfast.run_id", str(ids[0]))
            else:
                span.set_attribute("holdfast.runs", starting.count)
            return ids

    async def workflow_pass(self, passing: WorkflowPass, call_next: CallNext[PassOutcome]) -> PassOutcome:
        """A consumer's span, for as long as the run is in this worker."""
        run = passing.run
        span = self._tracer.start_span(
            f"workflow {run.name}",
            context=propagate.extract(run.headers),
            kind=SpanKind.CONSUMER,
            attributes={
                "holdfast.run_id": str(run.run_id),
                "holdfast.workflow": run.name,
                "holdfast.lane": run.lane,
                "holdfast.priority": run.priority,
                "holdfast.worker": passing.worker,
                "holdfast.pass": passing.number,
            },
        )
        with trace.use_span(span, end_on_exit=True):
            propagate.inject(passing.outgoing)
            outcome = await call_next()
            span.set_attribute("holdfast.ending", outcome.ending)
            if outcome.ending in {"failed", "blocked"}:
                if outcome.error_type is not None:
                    span.set_attribute("error.type", outcome.error_type)
                span.set_status(Status(StatusCode.ERROR, outcome.error_message))
            return outcome

    async def activity(self, info: ActivityInfo, call_next: CallNext[Any]) -> Any:
        """A span for the attempt: a consumer's, where it is a job."""
        attributes: dict[str, str | int] = {
            "holdfast.run_id": str(info.run_id),
            "holdfast.activity": info.name,
            "holdfast.key": info.key,
            "holdfast.attempt": info.attempt,
        }
        if info.workflow is not None:
            attributes["holdfast.workflow"] = info.workflow
        span = self._tracer.start_span(
            f"activity {info.name}",
            context=propagate.extract(info.headers),
            kind=SpanKind.CONSUMER if info.workflow is None else SpanKind.INTERNAL,
            attributes=attributes,
        )
        with trace.use_span(span, end_on_exit=True, record_exception=False, set_status_on_exception=False):
            try:
                return await call_next()
            except Exception as error:
                _fail(span, error)
                raise
            except BaseException as gone:
                # Its time was over, or nobody waits for it; or it was handed over, and says so by itself.
                span.set_attribute("holdfast.left_by", type(gone).__name__)
                raise


def _fail(span: Span, error: Exception) -> None:
    span.record_exception(error)
    span.set_attribute("error.type", type(error).__qualname__)
    span.set_status(Status(StatusCode.ERROR, str(error)))
