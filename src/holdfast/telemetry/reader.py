"""The reader of gauges: one statement when somebody wants to know, and none while nobody does."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from concurrent.futures import TimeoutError as Late
from typing import TYPE_CHECKING

from holdfast.core.priority import Priority
from holdfast.store.connect import said
from holdfast.store.gauges import read_gauges
from holdfast.store.link import Link

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import timedelta

    from prometheus_client import Metric

    from holdfast.store.gauges import Gauges
    from holdfast.store.statements import Statements

log = logging.getLogger("holdfast.metrics")

_LIMIT = 5.0
"""Seconds for one reading; a scrape gets what is there without it then."""


class GaugeReader:
    """A collector for a Prometheus registry. It lives in the loop that makes it, and may be collected from any thread.

    A reading is good for ``every``: scrapes that come faster get the last one. Collected in its own loop it cannot wait
    for one: then it gives the last, and has the next one made.
    """

    def __init__(self, dsn: str, statements: Statements, *, every: timedelta) -> None:
        self._link = Link(dsn, statements, application="holdfast metrics")
        self._every = every.total_seconds()
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._gauges: Gauges | None = None
        self._read_at = float("-inf")
        self._reading: asyncio.Task[None] | None = None
        self._closed = False

    async def close(self) -> None:
        """Ends the connection, if there is one."""
        self._closed = True
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait([self._reading])
        await self._link.close()

    def describe(self) -> Iterator[Metric]:
        """Nothing: so that it is not collected when it is registered."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """The gauges, as Prometheus wants them."""
        from prometheus_client.core import GaugeMetricFamily

        self._refresh()
        up = GaugeMetricFamily("holdfast_database_up", "Whether the last reading of the database's gauges went well.")
        gauges = self._gauges
        up.add_metric([], 0 if gauges is None else 1)
        yield up
        if gauges is None:
            return
        line = ["lane", "priority"]
        due = GaugeMetricFamily("holdfast_due_runs", "Runs that are due and that no worker holds.", labels=line)
        age = GaugeMetricFamily("holdfast_due_age_seconds", "For how long the first of these is due.", labels=line)
        parked = GaugeMetricFamily("holdfast_parked_runs", "Runs that wait, rest, or are to begin later.", labels=line)
        for one in gauges.lines:
            labels = [one.lane, Priority(one.priority).word]
            due.add_metric(labels, one.due)
            age.add_metric(labels, one.oldest.total_seconds())
            parked.add_metric(labels, one.parked)
        blocked = GaugeMetricFamily("holdfast_blocked_runs", "Runs whose code does not fit.", labels=["name"])
        for name, count in gauges.blocked.items():
            blocked.add_metric([name], count)
        held = GaugeMetricFamily("holdfast_xmin_holder_age_seconds", "Since when the xmin horizon is held.")
        held.add_metric([], gauges.horizon_held.total_seconds())
        behind = GaugeMetricFamily("holdfast_xmin_holder_age_transactions", "Transactions since the xmin horizon.")
        behind.add_metric([], gauges.horizon_transactions)
        yield from (due, age, parked, blocked, held, behind)

    def _refresh(self) -> None:
        if self._closed or time.monotonic() - self._read_at < self._every:
            return
        if threading.get_ident() == self._thread:
            self._begin()
            return
        try:
            asyncio.run_coroutine_threadsafe(self._fresh(), self._loop).result(_LIMIT + 1.0)
        except (Late, RuntimeError) as error:
            # The loop is busy, or closed.
            log.warning("the gauges could not be read in time: %s", said(error))

    async def _fresh(self) -> None:
        await asyncio.wait([self._begin()])

    def _begin(self) -> asyncio.Task[None]:
        if self._reading is None or self._reading.done():
            self._reading = self._loop.create_task(self._read(), name="holdfast gauges")
        return self._reading

    async def _read(self) -> None:
        if self._closed:
            return
        try:
            async with asyncio.timeout(_LIMIT), self._link.session() as session:
                self._gauges = await read_gauges(session)
        except Exception as error:
            self._link.discard()
            self._gauges = None
            log.warning("the gauges could not be read: %s", said(error))
        self._read_at = time.monotonic()
