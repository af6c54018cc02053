"""Prometheus: counters and histograms from events, and their exposition over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from holdfast.core import events
from holdfast.core.errors import ConfigurationError

try:
    from prometheus_client import CollectorRegistry, Counter, Histogram, start_http_server
except ImportError as error:  # pragma: no cover - in an environment without the extra
    raise ConfigurationError("metrics need prometheus-client: pip install 'holdfast[prometheus]'") from error

if TYPE_CHECKING:
    from holdfast.core.listeners import Listeners

_LATENCY = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
_DURATION = (0.005, 0.025, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600)
_FLUSH = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5)
_UNITS = (1, 2, 5, 10, 25, 50, 100, 250, 500, 1000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposition:
    """Where the metrics of an app are."""

    registry: CollectorRegistry
    port: int | None
    """At which ``/metrics`` is served; None: for the program to expose the registry."""


class Metrics:
    """What is counted of the clients and workers of one process, in ``registry``; without one, in a new one."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry = CollectorRegistry() if registry is None else registry
        line = ("lane", "priority")
        self._started = _counter(registry, "runs_started", "Runs that clients here have started.", ("name", *line))
        self._claimed = _counter(registry, "runs_claimed", "Runs that workers here have claimed.", ("name", *line))
        self._finished = _counter(registry, "runs_finished", "Runs that have ended here.", ("name", *line, "status"))
        self._blocked = _counter(registry, "runs_blocked", "How often a run was blocked here.", ("name",))
        self._latency = _histogram(
            registry, "start_latency_seconds", "From when a run was due to its first claim.", _LATENCY, line
        )
        self._steps = _histogram(
            registry, "activity_seconds", "How long an attempt at an activity took.", _DURATION, ("name", "status")
        )
        self._retries = _counter(registry, "activity_retries", "Attempts that another one follows.", ("name",))
        self._flush = _histogram(registry, "flush_seconds", "How long a group commit took.", _FLUSH)
        self._units = _histogram(registry, "flush_units", "What runs wanted written in one group commit.", _UNITS)
        self._refused = _counter(registry, "flush_units_refused", "What of it was not written.")
        self._renewed = _counter(registry, "lease_renewals", "Leases renewed.")
        self._lost = _counter(registry, "leases_lost", "Leases lost.")
        self._recovered = _counter(registry, "runs_recovered", "Runs of dead workers made due again here.")
        self._overflowed = _counter(
            registry, "runs_overflowed", "Runs given back because others could begin them earlier.", line
        )
        self._sweeps = _counter(registry, "sweeps", "Looks for due runs below the watermarks.")

        self._listening: tuple[tuple[type[Any], Callable[[Any], None]], ...] = (
            (events.RunStarted, self._on_started),
            (events.RunClaimed, self._on_claimed),
            (events.RunFinished, self._on_finished),
            (events.RunBlocked, self._on_blocked),
            (events.ActivityEnded, self._on_activity),
            (events.ActivityRetried, self._on_retried),
            (events.FlushDone, self._on_flush),
            (events.LeaseRenewed, self._on_renewed),
            (events.LeaseLost, self._on_lost),
            (events.RunsRecovered, self._on_recovered),
            (events.Swept, self._on_swept),
            (events.RunsOverflowed, self._on_overflowed),
        )

    def listen(self, listeners: Listeners) -> None:
        """Counts from now on."""
        for kind, listener in self._listening:
            listeners.on(kind, listener)

    def leave(self, listeners: Listeners) -> None:
        """Counts no more, and takes what it has counted out of the registry."""
        for kind, listener in self._listening:
            listeners.off(kind, listener)
        for one in vars(self).values():
            if isinstance(one, Counter | Histogram):
                self.registry.unregister(one)

    def _on_started(self, event: events.RunStarted) -> None:
        if not event.existing:
            self._started.labels(event.name, event.lane, event.priority).inc()

    def _on_claimed(self, event: events.RunClaimed) -> None:
        self._claimed.labels(event.name, event.lane, event.priority).inc()
        if event.number == 1:
            waited = (event.claimed_at - event.due_at).total_seconds()
            self._latency.labels(event.lane, event.priority).observe(max(0.0, waited))

    def _on_finished(self, event: events.RunFinished) -> None:
        self._finished.labels(event.name, event.lane, event.priority, event.status).inc()

    def _on_blocked(self, event: events.RunBlocked) -> None:
        self._blocked.labels(event.name).inc()

    def _on_activity(self, event: events.ActivityEnded) -> None:
        self._steps.labels(event.name, event.status).observe(event.elapsed.total_seconds())

    def _on_retried(self, event: events.ActivityRetried) -> None:
        self._retries.labels(event.name).inc()

    def _on_flush(self, event: events.FlushDone) -> None:
        self._flush.observe(event.elapsed.total_seconds())
        self._units.observe(event.units)
        self._refused.inc(event.refused)

    def _on_renewed(self, event: events.LeaseRenewed) -> None:
        self._renewed.inc()

    def _on_lost(self, event: events.LeaseLost) -> None:
        self._lost.inc()

    def _on_recovered(self, event: events.RunsRecovered) -> None:
        self._recovered.inc(event.runs)

    def _on_overflowed(self, event: events.RunsOverflowed) -> None:
        self._overflowed.labels(event.lane, event.priority).inc(event.runs)

    def _on_swept(self, event: events.Swept) -> None:
        self._sweeps.inc()


@asynccontextmanager
async def exposed(registry: CollectorRegistry, host: str, ports: range) -> AsyncGenerator[int]:
    """Serves the registry at ``/metrics`` on the first of these ports that is free, and gives it.

    Raises:
        ConfigurationError: none of them can be had.
    """
    for port in ports:
        try:
            server, thread = start_http_server(port, addr=host, registry=registry)
        except OSError as error:
            if port != ports[-1]:
                continue
            what = f"{host}:{ports[0]}" if len(ports) == 1 else f"{host}:{ports[0]} to {ports[-1]}"
            raise ConfigurationError(f"metrics cannot be served at {what}: {error}; choose another port") from error
        break
    else:  # pragma: no cover - a range of ports is never empty
        raise ConfigurationError("no port for metrics")
    try:
        yield server.server_port
    finally:
        await asyncio.to_thread(server.shutdown)
        server.server_close()
        await asyncio.to_thread(thread.join, 5.0)


def _counter(registry: CollectorRegistry, name: str, text: str, labels: tuple[str, ...] = ()) -> Counter:
    return Counter(f"holdfast_{name}", text, labels, registry=registry)


def _histogram(
    registry: CollectorRegistry, name: str, text: str, buckets: tuple[float, ...], labels: tuple[str, ...] = ()
) -> Histogram:
    return Histogram(f"holdfast_{name}", text, labels, buckets=buckets, registry=registry)
