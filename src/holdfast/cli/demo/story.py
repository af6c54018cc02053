"""The demo from its beginning to its verdict."""

from __future__ import annotations

import asyncio
import secrets
import shutil
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from rich.text import Text

from holdfast.app import App
from holdfast.app.database import Database, reach_database
from holdfast.cli.demo import code_census, onboarding
from holdfast.cli.demo.crew import LEASE, Crew
from holdfast.cli.demo.ledger import VARIABLE, read_ledger
from holdfast.cli.demo.stage import Scene, Stage
from holdfast.cli.demo.verdict import (
    Check,
    Killed,
    Verdict,
    check_calls,
    check_departure,
    check_endings,
    check_figures,
    check_held,
)
from holdfast.cli.output import Output
from holdfast.cli.run.timeline import draw
from holdfast.client import Client, RunHandle
from holdfast.core.errors import HoldfastError, SchemaMismatch
from holdfast.core.states import RunStatus
from holdfast.store.connect import connect
from holdfast.store.lane import LaneWorker, read_clock, read_counts, read_recorded, read_workers
from holdfast.store.link import Link
from holdfast.store.session import Session
from holdfast.store.teardown import drop_schema

SCHEMA = "holdfast_demo"

_PATIENCE = timedelta(seconds=90)
_PACE = 0.1
_KILL_AFTER = 0.05
"""So much of the census is done when a worker is killed."""


async def tell(app: App, out: Output) -> Verdict:
    """Runs the demo, shows it, and gives the verdict.

    Raises:
        HoldfastError: it could not be brought to its end; the message says where the log of the workers is.
    """
    with Stage(out) as stage:
        stage.say("opening the database ...")
        async with reach_database(app.settings()) as database:
            await _clear_mismatch(app, database)
            folder = Path(tempfile.mkdtemp(prefix="holdfast-demo-"))
            async with app.client(application="holdfast demo") as client:
                play = _Play(database=database, client=client, stage=stage, folder=folder, lane=_new_lane())
                try:
                    async with asyncio.timeout(_PATIENCE.total_seconds()):
                        verdict = await play.perform()
                except TimeoutError:
                    raise HoldfastError(
                        f"the demo did not come to its end within {_PATIENCE.total_seconds():g} s; "
                        f"the log of its workers: {play.log}"
                    ) from None
                except asyncio.CancelledError:
                    # Ctrl-C: nobody wants to know why it did not end.
                    shutil.rmtree(folder, ignore_errors=True)
                    raise
    _print(out, verdict, play)
    if verdict.ok:
        shutil.rmtree(folder, ignore_errors=True)
    else:
        out.people.print(f"the log of the workers: {play.log}")
    return verdict


@dataclass(slots=True, kw_only=True)
class _Play:
    database: Database
    client: Client
    stage: Stage
    folder: Path
    lane: str
    report: str = ""
    timeline: object = ""

    @property
    def log(self) -> Path:
        return self.folder / "workers.log"

    async def perform(self) -> Verdict:
        ledger = self.folder / "ledger.jsonl"
        ledger.touch()
        environment = {
            VARIABLE: str(ledger),
            "HOLDFAST_DATABASE_URL": self.database.dsn,
            "HOLDFAST_SCHEMA": self.database.statements.schema,
        }
        link = Link(self.database.dsn, self.database.statements, application="holdfast demo")
        try:
            with Crew(lane=self.lane, environment=environment, log=self.log) as crew:
                async with link.session() as session:
                    return await self._act(crew, session, ledger)
        finally:
            await link.close()

    async def _act(self, crew: Crew, session: Session, ledger: Path) -> Verdict:
        self.stage.say(f"starting two workers, with a lease of {LEASE.total_seconds():g} s")
        for number in (1, 2):
            crew.start(f"worker-{number}")
        await self._until_alive(crew, session, 2)

        names = code_census.packages()
        trial = await self._begin_trial()
        runs = await self.client.start_many([code_census.census.call(name) for name in names], lane=self.lane)
        self.stage.say(f"started trial-onboarding for Acme, and a census of {len(runs)} packages of Python's library")

        killed_at, victim = await self._kill_one(crew, session, trial, len(runs))
        crew.start("worker-3")
        self.stage.say("worker-3 is starting in its place", style="bold")
        recovered_after = await self._until_recovered(session, trial, len(runs), victim, killed_at)
        await self._decide(session, trial, len(runs))
        figures = await asyncio.gather(*(run.result() for run in runs))
        invoice = await trial.result()
        await self._show(session, trial, len(runs))
        self.stage.say(f"all runs have ended; onboarding says: {invoice}", style="bold green")
        codes = await crew.stop()

        counted = dict(zip(names, figures, strict=True))
        everything = code_census.total(counted.values())
        self.report = code_census.report(counted)
        self.timeline = draw(await trial.describe())
        killed = Killed(name=victim.name, pid=victim.pid, held=victim.held, recovered_after=recovered_after)
        ahead, blur = await _clock_difference(session)
        statuses = {run: await self.client.get(run).status() for run in victim.held}
        checks: list[Check] = [
            check_endings(await read_counts(session, self.lane), len(runs) + 1),
            check_held(killed, statuses),
            *check_calls(read_ledger(ledger), await read_recorded(session, self.lane), ahead, blur),
            check_figures(counted, everything),
            check_departure(codes),
        ]
        return Verdict(seconds=self.stage.seconds, killed=killed, checks=checks)

    async def _begin_trial(self) -> RunHandle[str]:
        signup = onboarding.Signup("Acme", "ada@acme.dev", trial=timedelta(seconds=3))
        return await self.client.start(
            onboarding.trial_onboarding, signup, key=f"signup:{self.lane}", lane=self.lane, priority="high"
        )

    async def _until_alive(self, crew: Crew, session: Session, count: int) -> None:
        while sum(worker.alive for worker in await read_workers(session, self.lane)) < count:
            if ended := crew.ended():
                raise HoldfastError(f"a worker ended at its start (exit codes {list(ended.values())}); log: {self.log}")
            await asyncio.sleep(_PACE)

    async def _kill_one(
        self, crew: Crew, session: Session, trial: RunHandle[str], total: int
    ) -> tuple[float, LaneWorker]:
        """Kills the worker that holds most, by the word of the database; gives when, and what it held then."""
        while True:
            scene = await self._show(session, trial, total)
            holder = max(scene.workers, key=lambda worker: len(worker.held))
            if scene.done >= total * _KILL_AFTER and holder.held:
                # Held still, it can neither finish nor give back what the database says it holds.
                crew.pause(holder.pid)
                victim = await self._at_rest(session, holder.id)
                if victim.held:
                    crew.kill(victim.pid)
                    self.stage.say(
                        f"kill -9 {victim.pid}: {victim.name} held {len(victim.held)} runs", style="bold red"
                    )
                    return time.monotonic(), victim
                crew.resume(holder.pid)
            if scene.done == scene.total:
                raise HoldfastError("the census was over before a worker could be killed; start the demo again")
            await asyncio.sleep(_PACE / 4)

    async def _at_rest(self, session: Session, worker: int) -> LaneWorker:
        """A worker that was halted, once what it had sent to the database before has been done."""
        before: LaneWorker | None = None
        while True:
            now = next(one for one in await read_workers(session, self.lane) if one.id == worker)
            if before is not None and set(now.held) == set(before.held):
                return now
            before = now
            await asyncio.sleep(_PACE / 2)

    async def _until_recovered(
        self, session: Session, trial: RunHandle[str], total: int, victim: LaneWorker, killed_at: float
    ) -> float:
        while True:
            scene = await self._show(session, trial, total)
            held = next((worker.held for worker in scene.workers if worker.id == victim.id), ())
            if not held:
                seconds = time.monotonic() - killed_at
                self.stage.say(f"its lease is over, others have its runs: {seconds:.1f} s after the kill", style="bold")
                return seconds
            await asyncio.sleep(_PACE)

    async def _decide(self, session: Session, trial: RunHandle[str], total: int) -> None:
        """Waits until the trial is over and the run waits for its signal; then sends it."""
        while True:
            await self._show(session, trial, total)
            run = await trial.describe()
            if run.status is RunStatus.WAITING and any(step.kind == "timer" for step in run.journal):
                break
            if run.status.ended:
                return
            await asyncio.sleep(_PACE)
        await trial.signal(onboarding.upgrade, onboarding.UpgradeDecision(upgraded=True, plan="pro"), key="decision")
        self.stage.say("the trial is over and the run waits for a decision: signal 'upgrade' sent", style="bold")

    async def _show(self, session: Session, trial: RunHandle[str], total: int) -> Scene:
        counts = await read_counts(session, self.lane)
        census = code_census.census.name
        scene = Scene(
            done=sum(count.runs for count in counts if count.name == census and count.status.ended),
            total=total,
            onboarding=str(await trial.status()),
            workers=await read_workers(session, self.lane),
        )
        self.stage.show(scene)
        return scene


async def _clear_mismatch(app: App, database: Database) -> None:
    """Makes room where an earlier release has left a schema of the demo that this one cannot use."""
    try:
        async with app.client():
            return
    except SchemaMismatch:
        if database.statements.schema != SCHEMA:
            raise
    connection = await connect(database.dsn, application="holdfast demo")
    try:
        await drop_schema(Session(connection, database.statements))
    finally:
        await connection.close()


async def _clock_difference(session: Session) -> tuple[timedelta, timedelta]:
    """How far the database's clock is ahead of ours, and how exactly that is known."""
    before = datetime.now(UTC)
    there = await read_clock(session)
    after = datetime.now(UTC)
    return there - (before + (after - before) / 2), after - before


def _new_lane() -> str:
    return f"demo-{secrets.token_hex(3)}"


def _print(out: Output, verdict: Verdict, play: _Play) -> None:
    out.people.print()
    out.people.print(Text(play.report))
    out.people.print()
    out.people.print(play.timeline)
    out.people.print()
    for check in verdict.checks:
        mark = ("ok    ", "bold green") if check.ok else ("FAILED", "bold red")
        out.people.print(Text.assemble(mark, f"  {check.name}: {check.detail}"))
    out.people.print()
    end = "every check holds" if verdict.ok else "not every check holds"
    out.people.print(Text(f"{end}, after {verdict.seconds:.0f} s", style="bold green" if verdict.ok else "bold red"))
