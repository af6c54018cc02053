"""``holdfast worker run``, or ``holdfast worker`` without a command."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from holdfast.app.worker_settings import Said
from holdfast.cli.fleet import run_fleet
from holdfast.cli.garbage import spare_collector
from holdfast.cli.logs import set_up_logs
from holdfast.cli.loop import run_to_end
from holdfast.cli.options import Door, with_door
from holdfast.cli.words import address
from holdfast.cli.worker.options import flags_of, with_worker_options
from holdfast.core.mode import Mode
from holdfast.supervise import follow_leash

if TYPE_CHECKING:
    from holdfast.app import App
    from holdfast.app.staff import HostedWorkers

_log = logging.getLogger("holdfast.cli")

_MARGIN = timedelta(seconds=15)
"""How much longer than its grace a process may take to end."""


@click.command()
@with_worker_options
@click.option(
    "--processes",
    type=click.IntRange(1, 256),
    default=1,
    envvar="HOLDFAST_WORKER_PROCESSES",
    metavar="N",
    help="So many processes, each with these workers.  [default: 1]",
)
@click.option("--alone", metavar="LANE", hidden=True, help="Only runs of it whose worker has died twice; then leave.")
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    envvar="HOLDFAST_WORKER_LOG_LEVEL",
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
def run(
    door: Door,
    /,
    *,
    processes: int,
    log_level: str,
    log_format: str,
    metrics: tuple[str, int] | None,
    metrics_ports: int,
    alone: str | None,
    **given: Any,
) -> int:
    """Execute what is started: a worker for the workflows and activities of an app.

    \b
      holdfast worker run --app shop.orders:app      "run" may be left out
      holdfast worker --app shop.orders:app --processes 4 --parallelism-factor 2
      holdfast worker --app shop.orders:app --lane reports --buckets very-low=0
      holdfast worker --app shop.orders:app --lane orders --lane reports

    Start as many as you like, on as many machines as you like: they share the work of their lane. SIGTERM or Ctrl-C
    ends a worker in order: it claims nothing more, lets running work finish within the grace, and gives the rest
    back at once; a second one cuts the grace short. After kill -9 other workers take over when the lease has ended;
    with --processes the supervisor sees to that at once, and replaces the process.

    What is not given comes from the environment, HOLDFAST_WORKER_MAX_THREADS for --max-threads and so on, then from
    [holdfast.worker] in holdfast.toml or [tool.holdfast.worker] in pyproject.toml, then from .env; `holdfast config`
    shows what that comes to. All logs go to stderr, nothing to stdout.
    """  # noqa: D301 - \b keeps click from wrapping the examples
    flags = flags_of(given)
    if alone is not None:
        flags |= {
            "lane": Said(value=alone, origin="--alone", form="python"),
            "mode": Said(value=Mode.FULL.value, origin="--alone", form="python"),
            "alone": Said(value=True, origin="--alone", form="python"),
        }
    app = door.need_app()
    workers = app.workers(
        flags=flags, alone_command=None if alone is not None else lambda lane: [*_single(), "--alone", lane]
    )
    patience = (max(one.settings.grace for one in workers) + _MARGIN).total_seconds()
    leashed = follow_leash(patience)
    set_up_logs(log_level, process=leashed or processes > 1, as_json=log_format == "json")
    if processes > 1:
        command = [*_single(), "--metrics-ports", str(processes)]
        return run_to_end(run_fleet(app, command, count=processes, patience=patience))
    # What is executed alone lasts for a moment, and another process has the port.
    served = None if alone is not None or metrics is None else Served(*metrics, metrics_ports)
    run_to_end(_work(app, workers, served), fast=True)
    return 0


class Served(NamedTuple):
    """Where metrics are to be served: at the first port that is free of so many."""

    host: str
    port: int
    ports: int


async def _work(app: App, workers: HostedWorkers, served: Served | None) -> None:
    loop = asyncio.get_running_loop()

    def stop(number: signal.Signals) -> None:
        _log.info("%s: stopping in order; a second one cuts the grace short", number.name)
        workers.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop, number)
    spare_collector()
    if served is None:
        await workers.run()
        return
    async with app.metrics(host=served.host, port=served.port, ports=served.ports) as metrics:
        _log.info("metrics at http://%s:%s/metrics", served.host, metrics.port)
        await workers.run()


def _single() -> list[str]:
    """The same command line for one process; a later option wins over an earlier one."""
    return [sys.executable, "-m", "holdfast", *sys.argv[1:], "--processes", "1"]
