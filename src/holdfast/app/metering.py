"""The metrics of an app, counted and served for as long as a block lasts."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

from holdfast.app.database import reach_database
from holdfast.core.errors import ConfigurationError

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from holdfast.app.settings import AppSettings
    from holdfast.core.listeners import Listeners
    from holdfast.telemetry.metrics import Exposition


@asynccontextmanager
async def metered(
    settings: AppSettings,
    listeners: Listeners,
    *,
    port: int | None,
    host: str,
    ports: int,
    registry: CollectorRegistry | None,
    every: timedelta,
) -> AsyncGenerator[Exposition]:
    """Counts what happens, reads gauges when they are asked for, and serves both where there is a port."""
    # Here, and not above: it needs an extra, and says so.
    from holdfast.telemetry.metrics import Exposition, Metrics, exposed
    from holdfast.telemetry.reader import GaugeReader

    if every < timedelta(0):
        raise ConfigurationError(f"every: zero or more, not {every}")
    if port is not None and not 0 <= port <= 65535 - ports + 1:
        raise ConfigurationError(f"port: 0 to {65535 - ports + 1}, not {port}")
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(reach_database(settings))
        metrics = Metrics(registry)
        registry = metrics.registry
        metrics.listen(listeners)
        stack.callback(metrics.leave, listeners)
        reader = GaugeReader(database.dsn, database.statements, every=every)
        stack.push_async_callback(reader.close)
        registry.register(reader)
        stack.callback(registry.unregister, reader)
        served: int | None = None
        if port is not None:
            some = range(port, port + (ports if port else 1))
            served = await stack.enter_async_context(exposed(registry, host, some))
        yield Exposition(registry=registry, port=served)
