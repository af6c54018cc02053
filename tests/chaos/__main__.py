"""The command line: ``./dev chaos``."""

from __future__ import annotations

import asyncio
import random
import secrets
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

import asyncpg
import click

from holdfast.core.errors import DatabaseError
from tests.apps.ledger import Ledger
from tests.chaos.crew import Crew
from tests.chaos.faults import Faults, Network
from tests.chaos.load import Load
from tests.chaos.verdict import Verdict, balance, describe
from tests.chaos.workload import app
from tests.faults.machine import Machine, open_machine
from tests.faults.proxy import Proxy
from tests.house import House, check_invariants

_LOOK_EVERY = 5.0
_SHOWN = 3


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--minutes", type=click.FloatRange(0.05), default=10.0, help="How long things break.  [default: 10]")
@click.option("--seed", type=int, help="Deals the same faults again.  [default: a new one]")
@click.option("--workers", type=click.IntRange(1), default=3, help="Worker processes.  [default: 3]")
@click.option(
    "--rate", type=click.FloatRange(0.1), default=15.0, help="Runs that are started per second.  [default: 15]"
)
@click.option("--only", multiple=True, metavar="FAULT", help="Deal only this fault, by its name; repeated for several.")
@click.option("--patience", type=float, default=90.0, help="Seconds in which all ends once faults stop.  [default: 90]")
def chaos(
    *, minutes: float, seed: int | None, workers: int, rate: float, only: tuple[str, ...], patience: float
) -> None:
    """Break everything that can break, for some time, and see whether anything is lost or doubled.

    Worker processes, a Postgres and the network between them are real. A seed deals the faults. What was promised to
    callers, what the tables say and what the activities themselves wrote down has to agree at the end. The exit code
    says whether it does.
    """
    seed = secrets.randbelow(1_000_000) if seed is None else seed
    click.echo(f"seed {seed}")
    plan = Plan(minutes, seed, workers, rate, frozenset(only), patience)
    sys.exit(asyncio.run(_chaos(plan)))


class Plan(NamedTuple):
    """What is asked for."""

    minutes: float
    seed: int
    workers: int
    rate: float
    only: frozenset[str]
    patience: float


async def _chaos(plan: Plan) -> int:
    with tempfile.TemporaryDirectory(prefix="holdfast-chaos-") as folder:
        scratch = Path(folder)
        scratch.chmod(0o711)
        ledger = Ledger(scratch / "ledger")
        async with (
            open_machine(scratch) as machine,
            Proxy(machine.house.dsn) as near,
            Proxy(machine.house.dsn) as far,
        ):
            return await _run(plan, machine, Network(near, far), ledger)


async def _run(plan: Plan, machine: Machine, network: Network, ledger: Ledger) -> int:
    chance = random.Random(plan.seed)
    house = machine.house
    app.override(origin="chaos", database_url=house.dsn)
    async with app.client():
        pass  # opening it has made the schema
    await house.db.execute("create table chaos_entry (book int, line int)")
    app.override(origin="chaos", database_url=network.near.dsn)
    broken: list[str] = []
    async with House(network.far.dsn, house.db, house.place) as remote, app.client() as client:
        crew = Crew(machine, remote, ledger.env, plan.workers)
        load = Load(client, random.Random(chance.random()), rate=plan.rate)
        faults = Faults(machine, crew, load, network, chance)
        await crew.fill()
        began = time.monotonic()
        looks = 0
        try:
            async with asyncio.timeout(plan.minutes * 60), asyncio.TaskGroup() as group:
                group.create_task(load.run())
                group.create_task(faults.run(plan.only))
                while True:
                    await asyncio.sleep(_LOOK_EVERY)
                    looks += await _look(house.dsn, broken)
                    click.echo(
                        f"{time.monotonic() - began:5.0f} s: {len(load.promises)} promised, "
                        f"{sum(faults.dealt.values())} faults",
                        err=True,
                    )
        except TimeoutError:
            pass
        click.echo("mending, and waiting until all has ended", err=True)
        await faults.mend()
        # A deploy of the newest version, as in real life: what the older one could not read goes on.
        crew.settle()
        await crew.stop_all()
        await crew.fill()
        try:
            async with asyncio.timeout(plan.patience):
                await load.settle()
        except TimeoutError:
            broken.append("callers are left without an answer")
        verdict = await balance(house, ledger, load.promises, patience=plan.patience)
        verdict.wrong[:0] = broken
        _report(plan.seed, faults, load, crew, verdict)
        click.echo(f"the invariants were looked at {looks} times meanwhile, and once at the end")
        for run_id in list(verdict.suspects)[:_SHOWN]:
            click.echo(f"\nrun {run_id}\n{await describe(house, run_id)}")
        if verdict.wrong:
            log = Path(tempfile.gettempdir()) / f"holdfast-chaos-{plan.seed}.log"
            log.write_text(house.log(), encoding="utf-8")
            click.echo(f"\nwhat the workers said: {log}")
        await crew.stop_all()
    return 1 if verdict.wrong else 0


async def _look(dsn: str, broken: list[str]) -> int:
    """The invariants, in the midst of it; says whether the server was there to be asked."""
    try:
        # The fourth sets a time, which nobody can keep while all workers are cut off.
        await check_invariants(dsn, but=("4. ",))
    except AssertionError as error:
        broken.append(f"an invariant was broken meanwhile: {error}")
    except (DatabaseError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
        return 0
    return 1


def _report(seed: int, faults: Faults, load: Load, crew: Crew, verdict: Verdict) -> None:
    click.echo(f"\nseed {seed}: {sum(faults.dealt.values())} faults")
    for name, number in faults.dealt.most_common():
        click.echo(f"  {number:4}  {name}")
    click.echo(f"{len(load.promises)} runs were promised to callers; {sum(load.refused.values())} starts were refused:")
    for name, number in sorted(verdict.ended.items()):
        click.echo(f"  {number:4}  {name}")
    click.echo(
        f"{verdict.share:.1%} ended as they should; {verdict.calls} calls of activities, {verdict.entries} entries"
    )
    click.echo(f"after kill -9 all was in other hands within {_percentiles(crew.recoveries)}")
    for sentence in verdict.wrong[:20]:
        click.echo(f"WRONG: {sentence}")
    if len(verdict.wrong) > 20:
        click.echo(f"and {len(verdict.wrong) - 20} more")
    click.echo("nothing is lost and nothing is doubled" if not verdict.wrong else f"again: ./dev chaos --seed {seed}")


def _percentiles(seconds: Sequence[float]) -> str:
    if not seconds:
        return "(nobody was killed)"
    ordered = sorted(seconds)
    return (
        f"{median(ordered):.1f} s (p50), {ordered[int(len(ordered) * 0.99)]:.1f} s (p99), {ordered[-1]:.1f} s (worst) "
        f"of {len(ordered)}"
    )


if __name__ == "__main__":
    chaos()
