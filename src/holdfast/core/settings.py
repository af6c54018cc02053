"""What a worker can be told: names and defaults are a public contract."""

from __future__ import annotations

import math
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import NamedTuple

from holdfast.core.errors import ConfigurationError
from holdfast.core.priority import Priority


def _processors() -> int:
    return os.cpu_count() or 1


class JournalLimits(NamedTuple):
    """What a journal may grow to, with a warning before."""

    warn_rows: int
    warn_bytes: int
    max_rows: int
    max_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings:
    """The settings of one worker; every mistake in them is reported at once, by a ConfigurationError."""

    name: str = field(default_factory=socket.gethostname)
    """Always suffixed, so that each start is a new identity: ``payroll-01-3c1a8b2``."""
    lane: str = "default"
    """The one lane that this worker serves; lanes are strictly isolated."""
    parallelism_factor: float = 1.0
    """Run capacity of a bucket = base × factor, rounded, at least 1; base: 2, 3, 4, 5, 6 from very low to critical."""
    buckets: Mapping[str, int] = field(default_factory=dict[str, int])
    """Buckets per priority where it is not 1: ``{"critical": 3, "very-low": 0}``; 0 leaves that class to others."""
    bucket_buffer_size: int = 250
    """Most runs that one bucket holds in memory beyond those that it executes."""
    skip_warm_up: bool = False
    """Claim at once, without the short pause that lets a fleet share the first work."""
    max_activities: int = 100
    """Async activities of workflows at once in this worker; as many wait in line, and those beyond are dispatched."""
    max_threads: int = field(default_factory=lambda: 4 * _processors())
    """Sync activities at once, jobs included."""
    max_processes: int = field(default_factory=_processors)
    """Processes for activities with ``isolation="process"``, each for one at a time; started when they are needed."""
    max_transactions: int = 4
    """Transactional activities at once, each on a connection of its own; opened when they are needed."""
    lease: timedelta = timedelta(seconds=30)
    """How long after a worker's death others may take its runs."""
    poll: timedelta = timedelta(seconds=1)
    """How often an idle worker looks for due work when no hint comes."""
    grace: timedelta = timedelta(seconds=30)
    """How long running work may go on after the worker was told to stop."""
    cached_runs: int = 2000
    """Parked workflow runs that are kept in memory, to go on without a replay."""
    journal_warn_rows: int = 25_000
    """A run whose journal has more rows is named in a warning: it is time for continue_as_new."""
    journal_warn_bytes: int = 25_000_000
    """Likewise, of what they hold."""
    journal_max_rows: int = 100_000
    """A run whose journal would have more rows fails."""
    journal_max_bytes: int = 100_000_000
    """Likewise, of what they hold."""
    hints: bool = True
    """Listen and notify; without, all is found by polling."""
    alone: bool = False
    """Execute the suspects of the lane, one at a time, and leave when none is due: what a worker starts in a process
    of its own for runs whose worker has died twice."""

    def __post_init__(self) -> None:
        mistakes = list(self._mistakes())
        if mistakes:
            raise ConfigurationError(*mistakes)

    def _mistakes(self) -> list[str]:
        found: list[str] = []
        if not self.name or len(self.name) > 200:
            found.append("name: 1 to 200 characters")
        if not self.lane or len(self.lane) > 200 or any(c.isspace() for c in self.lane):
            found.append(f"lane: 1 to 200 characters without blanks, not {self.lane!r}")
        if not (math.isfinite(self.parallelism_factor) and 0 < self.parallelism_factor <= 10_000):
            found.append(f"parallelism_factor: above 0, at most 10000, not {self.parallelism_factor}")
        words = {priority.word for priority in Priority}
        for word, count in self.buckets.items():
            if word not in words:
                found.append(f"buckets: {word!r} is not one of {', '.join(p.word for p in Priority)}")
            elif not 0 <= count <= 100:
                found.append(f"buckets[{word!r}]: 0 to 100, not {count}")
        if all(self.bucket_count(priority) == 0 for priority in Priority):
            found.append("buckets: at least one priority must have one")
        for name, value, least, most in (
            ("bucket_buffer_size", self.bucket_buffer_size, 0, 100_000),
            ("max_activities", self.max_activities, 1, 100_000),
            ("max_threads", self.max_threads, 1, 10_000),
            ("max_processes", self.max_processes, 1, 1_000),
            ("max_transactions", self.max_transactions, 1, 1_000),
            ("cached_runs", self.cached_runs, 0, 1_000_000),
            ("journal_warn_rows", self.journal_warn_rows, 1, 1_000_000_000),
            ("journal_warn_bytes", self.journal_warn_bytes, 1, 1_000_000_000_000),
            ("journal_max_rows", self.journal_max_rows, 1, 1_000_000_000),
            ("journal_max_bytes", self.journal_max_bytes, 1, 1_000_000_000_000),
        ):
            if not least <= value <= most:
                found.append(f"{name}: {least} to {most}, not {value}")
        for name, span, shortest, longest in (
            ("lease", self.lease, timedelta(seconds=1), timedelta(hours=1)),
            ("poll", self.poll, timedelta(milliseconds=10), timedelta(minutes=1)),
            ("grace", self.grace, timedelta(0), timedelta(days=1)),
        ):
            if not _is_within(span, shortest, longest):
                given = f"{span.total_seconds():g} s" if _is_timedelta(span) else f"{span!r}, which is no timedelta"
                found.append(f"{name}: {shortest.total_seconds():g} s to {longest.total_seconds():g} s, not {given}")
        return found

    @property
    def journal_limits(self) -> JournalLimits:
        """What a journal may grow to."""
        return JournalLimits(
            self.journal_warn_rows, self.journal_warn_bytes, self.journal_max_rows, self.journal_max_bytes
        )

    def bucket_count(self, priority: Priority) -> int:
        """How many buckets of this priority the worker has."""
        return self.buckets.get(priority.word, 1)

    def capacity(self, priority: Priority) -> int:
        """How many runs one bucket of this priority executes at once."""
        return max(1, round(priority.base_capacity * self.parallelism_factor))


# What the annotations promise is checked all the same: options come from untyped code too.


def _is_within(value: object, shortest: timedelta, longest: timedelta) -> bool:
    return isinstance(value, timedelta) and shortest <= value <= longest


def _is_timedelta(value: object) -> bool:
    return isinstance(value, timedelta)
