"""``holdfast worker``."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import click

from holdfast.cli.fleet import run_fleet
from holdfast.cli.garbage import spare_collector
from holdfast.cli.logs import set_up_logs
from holdfast.cli.loop import run_to_end
from holdfast.cli.options import Door, with_door
from holdfast.cli.words import address, duration
from holdfast.core.priority import Priority
from holdfast.core.settings import WorkerSettings
from holdfast.supervise import follow_leash

if TYPE_CHECKING:
    from holdfast.app import App
    from holdfast.app.hosted import WorkerOptions

_log = logging.getLogger("holdfast.cli")

_MARGIN = timedelta(seconds=15)
"""How much longer than its grace a process may take to end."""

_DEFAULTS = asdict(WorkerSettings())


def _option(flag: str, meaning: str, metavar: str, kind: Any) -> Callable[[Any], Any]:
    """An option for a field of the same name in WorkerSettings, with the default from there."""
    default = _DEFAULTS[flag.replace("-", "_")]
    if isinstance(default, timedelta):
        default = f"{default.total_seconds():g}s"
    variable = f"HOLDFAST_WORKER_{flag.upper().replace('-', '_')}"
    return click.option(
        f"--{flag}", type=kind, metavar=metavar, envvar=variable, help=f"{meaning}  [default: {default}]"
    )


@click.command()
@_option("lane", "The one lane that it serves.", "LANE", str)
@_option("parallelism-factor", "How much it does at once, times the base capacity of each priority.", "F", float)
@click.option("--processes", type=click.IntRange(1, 256), default=1, metavar="N", help="So many workers.  [default: 1]")
@_option("name", "What it is called; a suffix makes each start a new identity.", "NAME", str)
@_option("lease", "How long after its death others may take its runs.", "TIME", duration)
@_option("grace", "How long running work may go on after it was told to stop.", "TIME", duration)
@_option("poll", "How often it looks for work when no hint comes.", "TIME", duration)
@_option("max-activities", "Async activities of workflows at once.", "N", int)
@_option("max-threads", "Sync activities at once.", "N", int)
@_option("max-processes", "Activities in processes of their own at once.", "N", int)
@_option("max-transactions", "Transactional activities at once, each on a connection of its own.", "N", int)
@_option("bucket-buffer-size", "Most runs that one bucket holds in memory beyond those that run.", "N", int)
@click.option(
    "--buckets",
    multiple=True,
    metavar="PRIORITY=N",
    help=f"Buckets of a priority ({', '.join(one.word for one in Priority)}); 0: left to others.  [default: 1 each]",
)
@click.option("--skip-warm-up", is_flag=True, help="Claim at once, without the short pause at the start.")
@click.option("--alone", is_flag=True, hidden=True, help="Only runs whose worker has died twice; then leave.")
@click.option("--no-hints", is_flag=True, help="Neither listen nor notify: find everything by polling.")
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    help="Which log lines go to stderr.  [default: info]",
)
@click.option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    envvar="HOLDFAST_WORKER_LOG_FORMAT",
    default="text",
    help="Log lines for people, or a JSON object each.  [default: text]",
)
@click.option(
    "--metrics-port",
    "metrics",
    type=address,
    envvar="HOLDFAST_WORKER_METRICS_PORT",
    metavar="[HOST:]PORT",
    help="Serve metrics for Prometheus there, on 127.0.0.1 if no host is given; each of several processes at a port of "
    "its own, from this one on.",
)
@click.option("--metrics-ports", type=int, default=1, hidden=True, help="So many ports may be tried.")
@with_door()
def worker(
    door: Door,
    /,
    *,
    processes: int,
    log_level: str,
    log_format: str,
    metrics: tuple[str, int] | None,
    metrics_ports: int,
    buckets: tuple[str, ...],
    **given: Any,
) -> int:
    """Execute what is started: a worker for the workflows and activities of an app.

    \b
      holdfast worker --app shop.orders:app
      holdfast worker --app shop.orders:app --processes 4 --parallelism-factor 2
      holdfast worker --app shop.orders:app --lane reports --buckets very-low=0

    Start as many as you like, on as many machines as you like: they share the work of their lane. SIGTERM or Ctrl-C
    ends a worker in order: it claims nothing more, lets running work finish within the grace, and gives the rest
    back at once; a second one cuts the grace short. After kill -9 other workers take over when the lease has ended;
    with --processes the supervisor sees to that at once, and replaces the process.

    Options with a value can come from the environment: HOLDFAST_WORKER_MAX_THREADS for --max-threads, and so on. All
    logs go to stderr, nothing to stdout.
    """  # noqa: D301 - \b keeps click from wrapping the examples
    options = _options(given, buckets)
    patience = (WorkerSettings(**options).grace + _MARGIN).total_seconds()
    leashed = follow_leash(patience)
    set_up_logs(log_level, process=leashed or processes > 1, as_json=log_format == "json")
    app = door.need_app()
    if processes > 1:
        command = [*_single(), "--metrics-ports", str(processes)]
        return run_to_end(run_fleet(app, command, count=processes, patience=patience))
    alone = None if given["alone"] else [*_single(), "--alone"]
    # What is executed alone lasts for a moment, and another process has the port.
    served = None if given["alone"] or metrics is None else Served(*metrics, metrics_ports)
    run_to_end(_work(app, options, alone, served), fast=True)
    return 0


class Served(NamedTuple):
    """Where metrics are to be served: at the first port that is free of so many."""

    host: str
    port: int
    ports: int


async def _work(app: App, options: WorkerOptions, alone_command: Sequence[str] | None, served: Served | None) -> None:
    worker = app.worker(alone_command=alone_command, **options)
    loop = asyncio.get_running_loop()

    def stop(number: signal.Signals) -> None:
        _log.info("%s: stopping in order; a second one cuts the grace short", number.name)
        worker.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop, number)
    spare_collector()
    if served is None:
        await worker.run()
        return
    async with app.metrics(host=served.host, port=served.port, ports=served.ports) as metrics:
        _log.info("metrics at http://%s:%s/metrics", served.host, metrics.port)
        await worker.run()


def _options(given: dict[str, Any], buckets: tuple[str, ...]) -> WorkerOptions:
    options = {name: value for name, value in given.items() if value is not None and name in _DEFAULTS}
    if not given["skip_warm_up"]:
        del options["skip_warm_up"]
    if given["no_hints"]:
        options["hints"] = False
    if buckets:
        options["buckets"] = dict(_bucket(word) for word in buckets)
    return cast("WorkerOptions", options)


def _bucket(word: str) -> tuple[str, int]:
    priority, _, count = word.partition("=")
    if not count.isdecimal():
        raise click.BadParameter(f"--buckets {word!r}: write a priority and a number, such as very-low=0")
    return priority, int(count)


def _single() -> list[str]:
    """The same command line for one process; a later option wins over an earlier one."""
    return [sys.executable, "-m", "holdfast", *sys.argv[1:], "--processes", "1"]
