"""One sitting: a server, a plan, and what is the same for all scenarios."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Hashable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from rich.console import Console

from bench.database import Database
from bench.plan import Plan
from bench.server import Server
from bench.tuning import Tuning
from bench.worker import WORKLOAD, WorkerProcess, run_worker


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
    _profiles: dict[str, int] = field(default_factory=dict[str, int])

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
        """A worker on this database; its profile is written if the plan asks for one."""
        profile = None
        if self.plan.profile is not None and profiled:
            self._profiles[self.subject] = number = self._profiles.get(self.subject, 0) + 1
            profile = self.plan.profile / f"{self.subject.replace(' ', '-')}-{number}.prof"
        async with run_worker(database.url, tuning, app=app, lanes=lanes, profile=profile) as worker:
            yield worker
