"""What a worker can be told: names and defaults are a public contract."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from datetime import timedelta
from difflib import get_close_matches
from typing import NamedTuple

from holdfast.core.errors import ConfigurationError
from holdfast.core.mode import Duty, Mode, ModeName
from holdfast.core.priority import Priority
from holdfast.core.states import Ending

LONGEST_NAME = 200
MOST_BUCKETS = 100
LEAST_KEPT = timedelta(minutes=1)
MOST_KEPT = timedelta(days=36_500)

KEEP_KEYS = timedelta(days=30)
"""How long the key of a run is refused after its record has gone, where nothing else is said."""


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
    mode: ModeName = "full"
    """What it is for: ``full`` does everything; ``coordinator``, ``execution`` and ``drain`` a part of it each."""
    transfer_batch_size: int = 250
    """Runs that are made due again in one step when the worker that held them is gone."""
    parallelism_factor: float = 1.0
    """Run capacity of a bucket = base × factor, rounded, at least 1; base: 2, 3, 4, 5, 6 from very low to critical."""
    buckets: Mapping[str, int] = field(default_factory=dict[str, int])
    """Buckets per priority where it is not 1: ``{"critical": 3, "very-low": 0}``; 0 leaves that class to others."""
    bucket_buffer_size: int = 250
    """Most runs that one bucket holds in memory beyond those that it executes."""
    bucket_buffer_lead_time: timedelta = timedelta(seconds=15)
    """How far ahead due work is loaded; it begins at its due time, from memory."""
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
    keep: Mapping[str, timedelta] = field(default_factory=dict[str, timedelta])
    """How long the records of ended runs are kept, by how they ended: ``{"succeeded": timedelta(days=30)}``. What is
    not named is kept for ever."""
    keep_keys: timedelta = KEEP_KEYS
    """How long the keys of such runs are refused after that."""
    alone: bool = False
    """Execute the suspects of the lane, one at a time, and leave when none is due: what a worker starts in a process
    of its own for runs whose worker has died twice."""

    def __post_init__(self) -> None:
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        if mistakes := find_mistakes(values):
            raise ConfigurationError(*(f"{name}: {words}" for name, words in mistakes))

    def does(self, duty: Duty) -> bool:
        """Whether it has this duty, in its mode."""
        return Mode(self.mode).does(duty)

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


# What the annotations promise is checked all the same: options come from files and untyped code too.

WHOLE: Mapping[str, tuple[int, int]] = {
    "transfer_batch_size": (1, 10_000),
    "bucket_buffer_size": (0, 100_000),
    "max_activities": (1, 100_000),
    "max_threads": (1, 10_000),
    "max_processes": (1, 1_000),
    "max_transactions": (1, 1_000),
    "cached_runs": (0, 1_000_000),
    "journal_warn_rows": (1, 1_000_000_000),
    "journal_warn_bytes": (1, 1_000_000_000_000),
    "journal_max_rows": (1, 1_000_000_000),
    "journal_max_bytes": (1, 1_000_000_000_000),
}
"""The settings that are whole numbers, each with the least and the most that it may be."""

SPANS: Mapping[str, tuple[timedelta, timedelta]] = {
    "bucket_buffer_lead_time": (timedelta(milliseconds=250), timedelta(seconds=30)),
    "lease": (timedelta(seconds=1), timedelta(hours=1)),
    "poll": (timedelta(milliseconds=10), timedelta(minutes=1)),
    "grace": (timedelta(0), timedelta(days=1)),
    "keep_keys": (timedelta(0), MOST_KEPT),
}
"""The settings that are spans of time, each with the shortest and the longest that it may be."""


def find_mistakes(given: Mapping[str, object]) -> list[tuple[str, str]]:
    """What is wrong with these settings of a worker, all of it: the name of a setting, and words, for each mistake."""
    found: list[tuple[str, str]] = []
    for name, value in given.items():
        check = _CHECKS.get(name)
        if check is None:
            found.append((name, f"is not a setting of a worker{suggest(name, SETTINGS)}"))
        else:
            found += [(name, words) for words in check(name, value)]
    return found


def suggest(name: str, known: Iterable[str]) -> str:
    """What was perhaps meant, or what there is."""
    near = get_close_matches(name, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else f"; settings: {', '.join(known)}"


def _text(name: str, value: object) -> Iterator[str]:
    if not isinstance(value, str):
        yield f"{value!r} is not a text"
    elif not 1 <= len(value) <= LONGEST_NAME or (name == "lane" and any(c.isspace() for c in value)):
        yield f"1 to {LONGEST_NAME} characters{' without blanks' if name == 'lane' else ''}, not {value[:210]!r}"


def _mode(_: str, value: object) -> Iterator[str]:
    if value not in list(Mode):
        yield f"{value!r} is not one of {', '.join(Mode)}"


def _factor(_: str, value: object) -> Iterator[str]:
    if isinstance(value, bool) or not isinstance(value, int | float):
        yield f"{value!r} is not a number"
    elif not 0 < value <= 10_000:
        # What is no number is not in between either.
        yield f"above 0, at most 10000, not {value}"


def _whole(name: str, value: object) -> Iterator[str]:
    least, most = WHOLE[name]
    if isinstance(value, bool) or not isinstance(value, int):
        yield f"{value!r} is not a whole number"
    elif not least <= value <= most:
        yield f"{least} to {most}, not {value}"


def _span(name: str, value: object) -> Iterator[str]:
    shortest, longest = SPANS[name]
    limits = f"{shortest.total_seconds():g} s to {longest.total_seconds():g} s"
    if not isinstance(value, timedelta):
        yield f"{limits}, not {value!r}, which is no timedelta"
    elif not shortest <= value <= longest:
        yield f"{limits}, not {value.total_seconds():g} s"


def _truth(_: str, value: object) -> Iterator[str]:
    if not isinstance(value, bool):
        yield f"{value!r} is neither true nor false"


def _buckets(_: str, value: object) -> Iterator[str]:
    words = [priority.word for priority in Priority]
    if not isinstance(value, Mapping):
        yield f"{value!r} is not a number for each priority, such as {{'critical': 3, 'very-low': 0}}"
        return
    counts: Mapping[object, object] = value  # pyright: ignore[reportUnknownVariableType]
    for word, count in counts.items():
        if word not in words:
            yield f"{word!r} is not one of {', '.join(words)}"
        elif isinstance(count, bool) or not isinstance(count, int) or not 0 <= count <= MOST_BUCKETS:
            yield f"{word!r}: 0 to {MOST_BUCKETS}, not {count!r}"
    if all(counts.get(word, 1) == 0 for word in words):
        yield "at least one priority must have one"


def _keep(_: str, value: object) -> Iterator[str]:
    words = [ending.name.lower() for ending in Ending]
    if not isinstance(value, Mapping):
        yield f"{value!r} is not a timedelta for each way to end, such as {{'succeeded': timedelta(days=30)}}"
        return
    ages: Mapping[object, object] = value  # pyright: ignore[reportUnknownVariableType]
    for word, age in ages.items():
        if word not in words:
            yield f"{word!r} is not one of {', '.join(words)}"
        elif not isinstance(age, timedelta) or not LEAST_KEPT <= age <= MOST_KEPT:
            yield f"{word!r}: a timedelta of 1 minute to {MOST_KEPT.days} days, not {age!r}"


_CHECKS: Mapping[str, Callable[[str, object], Iterator[str]]] = {
    "name": _text,
    "lane": _text,
    "mode": _mode,
    "parallelism_factor": _factor,
    "buckets": _buckets,
    "keep": _keep,
    **dict.fromkeys(WHOLE, _whole),
    **dict.fromkeys(SPANS, _span),
    **dict.fromkeys(("skip_warm_up", "hints", "alone"), _truth),
}

SETTINGS: tuple[str, ...] = tuple(one.name for one in fields(WorkerSettings) if one.name != "alone")
"""Every setting that users have, in the order of this page."""
