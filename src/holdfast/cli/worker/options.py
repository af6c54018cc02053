"""The options of ``holdfast worker``: one for each setting of a worker, taken as they are written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

import click

from holdfast.app.worker_settings import PREFIX, Said
from holdfast.core.mode import Mode
from holdfast.core.priority import Priority
from holdfast.core.settings import WorkerSettings

_MEANINGS: Mapping[str, tuple[str, str]] = {
    "lane": ("LANE", "The lane that it serves; repeated: one worker for each, in one process."),
    "parallelism_factor": ("F", "How much it does at once, times the base capacity of each priority."),
    "name": ("NAME", "What it is called; a suffix makes each start a new identity."),
    "mode": ("MODE", f"What it is for: {', '.join(Mode)}."),
    "lease": ("TIME", "How long after its death others may take its runs."),
    "grace": ("TIME", "How long running work may go on after it was told to stop."),
    "poll": ("TIME", "How often it looks for work when no hint comes."),
    "max_activities": ("N", "Async activities of workflows at once."),
    "max_threads": ("N", "Sync activities at once."),
    "max_processes": ("N", "Activities in processes of their own at once."),
    "max_transactions": ("N", "Transactional activities at once, each on a connection of its own."),
    "bucket_buffer_size": ("N", "Most runs that one bucket holds in memory beyond those that run."),
    "bucket_buffer_lead_time": ("TIME", "How far ahead due work is loaded, to begin on time."),
    "buckets": (
        "PRIORITY=N",
        f"Buckets of a priority ({', '.join(one.word for one in Priority)}), repeated; 0: left to others.",
    ),
    "keep": ("STATUS=TIME", "How long records of runs that ended so are kept, such as succeeded=30d; repeated."),
    "keep_keys": ("TIME", "How long the keys of such runs are refused after that."),
    "transfer_batch_size": ("N", "Runs of a dead worker that are made due again in one step."),
    "cached_runs": ("N", "Parked workflow runs that are kept in memory."),
    "journal_warn_rows": ("N", "A run whose journal has more rows is named in a warning."),
    "journal_warn_bytes": ("N", "Likewise, of what they hold."),
    "journal_max_rows": ("N", "A run whose journal would have more rows fails."),
    "journal_max_bytes": ("N", "Likewise, of what they hold."),
}
_DEFAULTS = WorkerSettings()
_REPEATED = {"lane", "buckets", "keep"}
_FLAGS = {
    "skip_warm_up": ("--skip-warm-up", True, "Claim at once, without the short pause at the start."),
    "hints": ("--no-hints", False, "Neither listen nor notify: find everything by polling."),
}
"""Each with what it says when it is given."""


def with_worker_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Gives a command an option for each setting of a worker; ``flags_of`` makes of them what they say."""
    for name, (flag, _, meaning) in reversed([*_FLAGS.items()]):
        command = click.option(flag, name, is_flag=True, default=False, help=meaning)(command)
    for name, (metavar, meaning) in reversed([*_MEANINGS.items()]):
        # Taken as texts: what is wrong with them is said together with what is wrong elsewhere.
        command = click.option(
            f"--{name.replace('_', '-')}",
            name,
            metavar=metavar,
            multiple=name in _REPEATED,
            help=f"{meaning}  [default: {_default(name)}]",
        )(command)
    return command


def flags_of(given: Mapping[str, Any]) -> dict[str, Said]:
    """What the command line says of these options."""
    found: dict[str, Said] = {}
    for name in _MEANINGS:
        value = given[name]
        if name in _REPEATED:
            value = None if not value else list(value) if name == "lane" else " ".join(value)
        if value is not None:
            found[name] = Said(value=value, origin=f"--{name.replace('_', '-')}", form="text")
    for name, (flag, meant, _) in _FLAGS.items():
        if given[name]:
            found[name] = Said(value=meant, origin=flag, form="python")
    return found


def variable_of(name: str) -> str:
    """The variable of a setting: ``HOLDFAST_WORKER_MAX_THREADS``."""
    return f"{PREFIX}{name.upper()}"


def _default(name: str) -> str:
    match getattr(_DEFAULTS, name):
        case timedelta() as span:
            return f"{span.days}d" if span >= timedelta(days=1) else f"{span.total_seconds():g}s"
        case Mapping():
            return "for ever" if name == "keep" else "1 each"
        case other:
            return str(other)
