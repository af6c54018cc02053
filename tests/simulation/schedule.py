"""One schedule: a world from one seed, workers and callers in it, dangers for a while, then peace, then the verdict."""

from __future__ import annotations

import gc
import random
import sys
import traceback
import warnings
from collections.abc import Callable, Generator, Mapping
from contextlib import AsyncExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from holdfast.core.events import LeaseLost
from holdfast.core.listeners import Listeners
from holdfast.core.settings import WorkerSettings
from holdfast.store.statements import Statements
from holdfast.upkeep import Scheduler
from holdfast.worker import Worker
from holdfast.worker.companion import Companion
from holdfast.worker.seams import Seams
from holdfast.worker.surroundings import Surroundings
from tests.simulation.load import Load, plans
from tests.simulation.nature import Nature
from tests.simulation.process import Main, Process, SimulatedBeside, tasks_of
from tests.simulation.programs import CLOCK, DRIVEN, MESSAGE
from tests.simulation.repertoire import app
from tests.simulation.server import Server
from tests.simulation.stage import Called, stage
from tests.simulation.verdict import Verdict
from tests.simulation.weather import Weather
from tests.simulation.world import Stuck, World

if TYPE_CHECKING:
    from tests.simulation.database import Database
    from tests.simulation.trace import Trace

_DSN = "postgresql://simulated/simulated"
_DANGER = 6.0
"""Seconds in which things go wrong."""
_PATIENCE = 60.0
"""Seconds in which all ends once they do not any more."""
_LOOK_EVERY = 0.5
_MOST_DEATHS = 3
"""A run that is held in five is given up, which is right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a schedule came to."""

    seed: int
    wrong: list[str]
    fell: bool
    """Whether that is an error that nobody has expected."""
    trace: Trace
    seconds: float
    """That have passed in it."""
    trips: int
    runs: int
    calls: int
    deaths: int
    waits: int
    """Round trips that have waited for a lock."""
    befallen: Mapping[str, int]
    """How often what has befallen somebody."""
    suspect: str | None
    """What the tables say of a run at fault."""


class Schedule:
    """All of one seed."""

    def __init__(self, database: Database, seed: int, *, beside: Any = None) -> None:
        self._database = database
        self._seed = seed
        self._world = world = World(seed)
        chance = world.chance
        self._fates = random.Random(chance.random())
        self._settings = self._pick_settings(chance)
        lease = self._settings.lease.total_seconds()
        self._peaceful = seed % 16 == 0
        self._weather = Weather(random.Random(chance.random()), lease=lease, dangers=not self._peaceful)
        self._server = Server(world, self._weather, database.backends)
        self._statements = Statements()
        self._verdict = Verdict(world, database, self._statements)
        planned = plans(chance, most=8, within=_DANGER * 0.6)
        self._load = Load(world, database.backends, _DSN, self._statements, planned, hints=self._settings.hints)
        self._beside = beside
        self._processes: list[Process] = []
        self._deaths = 0
        self._ended = False
        self._fell = False
        self._calm_at: float | None = None
        self._away_until = 0.0

    def run(self) -> Outcome:
        """Simulates it."""
        world, database = self._world, self._database
        database.clear(world.micros)
        stage.clear()
        stage.called, stage.block, stage.blame = self._called, self._block, world.blame
        with Nature(world, self._server):
            try:
                self._begin()
                world.run(lambda: self._ended, limit=_DANGER + _PATIENCE)
                if not world.wrong:
                    self._judge()
            except KeyboardInterrupt:
                raise
            except BaseException as error:
                # Whatever it is, and whosever fault: it is this seed's, and the trace says what was before it.
                world.blame(described(error))
                self._fell = not isinstance(error, Stuck)
            suspect = self._describe_suspect()
            with _in_silence():
                self._bury()
        stage.called = stage.block = stage.blame = None
        return Outcome(
            seed=self._seed,
            wrong=world.wrong,
            fell=self._fell,
            trace=world.trace,
            seconds=world.now,
            trips=self._server.trips,
            runs=len(self._load.promises),
            calls=len(stage.ledger),
            deaths=self._deaths,
            waits=self._server.waits,
            befallen=world.befallen,
            suspect=suspect,
        )

    def _describe_suspect(self) -> str | None:
        suspect = self._verdict.suspect
        if suspect is None:
            return None
        try:
            return f"run {suspect}\n{self._verdict.describe(suspect)}"
        except Exception as error:
            return f"run {suspect}: its tables cannot be read: {error!r}"

    # ---- what is there

    def _pick_settings(self, chance: random.Random) -> WorkerSettings:
        return WorkerSettings(
            name="w",
            lease=timedelta(seconds=chance.choice([2.0, 3.0])),
            poll=timedelta(seconds=chance.choice([0.2, 0.5, 1.0])),
            grace=timedelta(seconds=2),
            skip_warm_up=True,
            bucket_buffer_lead_time=timedelta(seconds=chance.choice([0.25, 2.0])),
            bucket_buffer_size=chance.choice([0, 5, 250]),
            cached_runs=chance.choice([0, 3, 2000]),
            hints=chance.random() < 0.8,
            buckets={"very-low": 0, "low": 0, "high": 0, "critical": 0},
        )

    def _begin(self) -> None:
        for _ in range(self._world.chance.choice([2, 2, 3])):
            self._employ("default")
        if any(plan.kind == "spread" for plan in self._load.planned):
            self._employ("elsewhere")
        caller = Process(self._world, "caller", self._load.main)
        caller.main.add_done_callback(self._called_back)
        self._processes.append(caller)
        for kind, main in ((MESSAGE, self._load.consume), (DRIVEN, self._load.drive)):
            if any(plan.kind == kind for plan in self._load.planned):
                for _ in range(self._world.chance.choice([1, 2])):
                    self._employ_consumer(main)
        if not self._peaceful:
            self._plan_faults()
        self._world.after(_DANGER, self._calm)
        self._world.after(_LOOK_EVERY, self._look)

    def _employ_consumer(self, main: Main) -> None:
        consumer = Process(self._world, f"consumer{len(self._processes)}", main, mortal=self._mortal)
        consumer.main.add_done_callback(self._called_back)
        consumer.died = lambda: self._replace_consumer(main)
        self._processes.append(consumer)

    def _replace_consumer(self, main: Main) -> None:
        self._count_death()
        self._world.after(self._fates.uniform(0.02, 1.5), lambda: self._employ_consumer(main))

    def _called_back(self, task: Any) -> None:
        if not task.cancelled() and task.exception() is not None:
            self._world.blame(f"a caller was told {task.exception()!r}")

    def _employ(self, lane: str) -> None:
        name = f"w{len(self._processes) + 1}"
        skew = self._fates.choice([0.0, 0.0, 0.0, 3600.0, -3600.0])

        async def main(process: Process) -> None:
            listeners = Listeners()
            listeners.on(LeaseLost, lambda event: self._lease_lost(process, event))
            async with AsyncExitStack() as stack:
                companion: Companion | None = None
                if any(plan.kind == CLOCK for plan in self._load.planned):
                    scheduler = await stack.enter_async_context(self._make_scheduler())
                    companion = Companion(
                        schedules=scheduler.carried, registered=scheduler.begin, heard=scheduler.heard
                    )
                process.worker = Worker(
                    dsn=_DSN,
                    statements=self._statements,
                    seal=app.seal(),
                    definitions=app.executables,
                    settings=replace(self._settings, lane=lane),
                    seams=Seams(beside=self._beside or (lambda name: SimulatedBeside(process, name))),
                    companion=companion,
                    surroundings=Surroundings(listeners=listeners),
                )
                await process.worker.run()

        process = Process(self._world, name, main, skew=skew, mortal=self._mortal)
        process.died = lambda: self._mourn(lane)
        self._processes.append(process)
        process.main.add_done_callback(lambda task: self._left(process, task, lane))
        self._world.note(name, f"begins in lane {lane}")

    def _make_scheduler(self) -> Scheduler:
        return Scheduler(
            dsn=_DSN,
            statements=self._statements,
            seal=app.seal(),
            schedules={},
            poll=self._settings.poll,
            hints=self._settings.hints,
        )

    def _mourn(self, lane: str) -> None:
        self._count_death()
        self._replace(lane)

    def _count_death(self) -> None:
        self._deaths += 1
        if self._deaths >= _MOST_DEATHS:
            for one in self._processes:
                one.mortal = False

    def _left(self, process: Process, task: Any, lane: str) -> None:
        if not process.alive:
            return
        if not task.cancelled() and task.exception() is not None:
            calm_at = self._world.now if self._calm_at is None else self._calm_at
            if self._world.now < max(calm_at, process.disturbed_at, self._away_until) + 1.0:
                # It could not begin, or the server was away when it was asked what it is: it is started again.
                self._world.note(process.name, f"ends with {task.exception()!r}")
            else:
                self._world.blame(f"{process.name} ends with {task.exception()!r}")
        else:
            self._world.note(process.name, "has left")
        process.end()
        if not self._ended:
            self._replace(lane)

    @property
    def _mortal(self) -> bool:
        return self._deaths < _MOST_DEATHS

    def _replace(self, lane: str) -> None:
        self._world.after(self._fates.uniform(0.02, 1.5), lambda: self._employ(lane))

    # ---- what befalls it

    def _plan_faults(self) -> None:
        chance, lease = self._fates, self._settings.lease.total_seconds()
        faults: list[Callable[[], None]] = [
            lambda: self._someone(Process.kill, mortal=True),
            lambda: self._someone(lambda one: one.freeze(lease * chance.uniform(0.2, 1.0))),
            lambda: self._someone(lambda one: one.freeze(lease * chance.uniform(1.2, 2.5))),
            lambda: self._someone(lambda one: one.block(lease * chance.uniform(0.2, 2.0))),
            lambda: self._someone(self._tell_to_stop, worker=True),
            lambda: self._someone(self._cut),
            lambda: self._restart(chance.uniform(0.0, lease * 0.8)),
        ]
        for _ in range(chance.choice([0, 1, 2, 4, 6])):
            self._world.after(_DANGER * chance.random(), chance.choice(faults))

    def _someone(self, befalls: Callable[[Process], None], *, mortal: bool = False, worker: bool = False) -> None:
        """Callers and consumers too, though less often. The caller does not die: he knows what he was promised."""
        alive = [one for one in self._processes if one.running]
        able = [one for one in alive if (one.mortal or not mortal) and (one.worker is not None or not worker)]
        able += [one for one in able if one.worker is not None for _ in range(2)]
        if able:
            befalls(self._fates.choice(able))

    def _tell_to_stop(self, process: Process) -> None:
        self._world.befall(process.name, "is told to stop")
        process.worker.stop()

    def _cut(self, process: Process) -> None:
        seconds = self._settings.lease.total_seconds() * self._fates.uniform(0.0, 1.5)
        process.cut()
        process.cut_off = True
        process.disturb(seconds)

        def mend() -> None:
            process.cut_off = False

        self._world.after(seconds, mend)

    def _restart(self, seconds: float) -> None:
        self._server.restart(seconds)
        self._away_until = max(self._away_until, self._world.now + seconds)
        for one in self._processes:
            one.disturb(seconds)

    def _calm(self) -> None:
        self._world.note("weather", "is calm")
        self._weather.calm = True
        self._calm_at = self._world.now

    # ---- what is looked at meanwhile

    def _look(self) -> None:
        # All invariants hold at every moment, but that the fourth sets a time, which needs a worker to keep it.
        lease = self._settings.lease.total_seconds()
        disturbed_at = max(one.disturbed_at for one in self._processes)
        long_calm = self._calm_at is not None and self._world.now > max(self._calm_at, disturbed_at) + 3 * lease + 1
        self._verdict.check_tables(but=() if long_calm else ("4. ",))
        if self._weather.calm and self._calm_at is not None and self._load.done and self._server.quiet:
            open_runs = self._database.backends.look("select count(*) as number from holdfast.task")[0]["number"]
            self._ended = open_runs == 0
        if not self._ended:
            self._world.after(_LOOK_EVERY, self._look)

    def _called(self, call: Called) -> None:
        current = self._world.current
        assert current is not None
        assert current.process is not None
        process = current.process
        name = None if process.worker is None else process.worker.name
        self._world.note(process.name, f"calls {call.key} of {call.run_id}, attempt {call.attempt}")
        self._world.after(0.0, lambda: self._verdict.check_call(call, name))

    def _block(self, seconds: float) -> None:
        current = self._world.current
        assert current is not None
        assert current.process is not None
        current.process.block(seconds)

    def _lease_lost(self, process: Process, event: LeaseLost) -> None:
        lease = self._settings.lease.total_seconds()
        # Whose loop stood still may have lost it while it did, and hears of it now.
        stood_still = process.loop.awake_at > self._world.now - 0.5
        lost_at = process.blocked_at if stood_still else self._world.now
        if lost_at > process.disturbed_at + 2 * lease:
            self._world.blame(f"{process.name} has lost its lease, and nothing was done to it: {event.reason}")

    # ---- its end

    def _judge(self) -> None:
        self._verdict.check_tables()
        if not self._load.done:
            self._world.blame("callers are left without an answer")
        self._verdict.check_ends(self._load.promises)
        self._verdict.check_entries(self._load.promises)
        self._load.mailbox.check()
        self._load.clockwork.check()
        self._load.sieve.check(in_order=self._peaceful)
        if not self._world.wrong:
            self._verdict.check_replays()
        if self._peaceful:
            self._verdict.check_calls(self._load.promises)

    def _bury(self) -> None:
        for process in self._processes:
            process.end()
        for process in self._processes:
            for task in tasks_of(process):
                _close(task)
            for loop in process.loops:
                loop.tasks.clear()
        self._processes.clear()
        gc.collect()


def described(error: BaseException) -> str:
    """What to say of an error that nobody has expected."""
    if isinstance(error, Stuck):
        return str(error)
    return f"{type(error).__name__}: {error}\n{''.join(traceback.format_exception(error))}"


def _close(task: Any) -> None:
    task._log_destroy_pending = False
    with suppress(BaseException):
        task.get_coro().close()


@contextmanager
def _in_silence() -> Generator[None]:
    """What coroutines say that are dropped in the middle interests nobody: their process is dead."""
    hook = sys.unraisablehook
    sys.unraisablehook = _nothing
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            sys.unraisablehook = hook


def _nothing(_: object) -> None:
    """Nobody is told."""
