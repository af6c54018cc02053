"""One sitting: a server, a plan, and what is the same for all scenarios."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Hashable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from rich.console import Console

from bench.database import Database
from bench.plan import Plan
from bench.profile import Profiles
from bench.server import Server
from bench.tuning import Tuning
from bench.worker import WORKLOAD, WorkerProcess, run_worker
from holdfast import Client


@dataclass(slots=True, kw_only=True)
class Sitting:
    """Everything that is measured in one sitting is measured on this server, by this plan."""

    server: Server
    plan: Plan
    notes: Console
    subject: str = ""
    """What is being measured, for the notes and for the names of the profiles."""
    ceilings: dict[Hashable, float] = field(default_factory=dict[Hashable, float])
    """Runs per second of each yardstick when it was last measured, so that the next time is long enough."""
    _profiles: Profiles = field(init=False)

    def __post_init__(self) -> None:
        self._profiles = Profiles(self.plan.profile)

    def note(self, text: str) -> None:
        """Tells people how it goes."""
        self.notes.print(f"{self.subject}: {text}", markup=False)

    @asynccontextmanager
    async def worker(
        self,
        database: Database,
        tuning: Tuning,
        *,
        app: str = WORKLOAD,
        lanes: Sequence[str] = (),
        profiled: bool = True,
    ) -> AsyncGenerator[WorkerProcess]:
        """A worker on this database; it is profiled if the plan asks for that."""
        profiles = self._profiles if profiled else Profiles(None)
        async with (
            run_worker(database.url, tuning, app=app, lanes=lanes) as worker,
            profiles.of(f"{self.subject} worker", worker.pid, database),
        ):
            yield worker

    @asynccontextmanager
    async def client(self, database: Database) -> AsyncGenerator[Client]:
        """A client of this database, in this process; it is profiled, likewise."""
        async with (
            database.client() as client,
            self._profiles.of(f"{self.subject} client", os.getpid(), database),
        ):
            yield client
