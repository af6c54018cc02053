"""What an adapter is: a client that starts and waits, a worker that executes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bench.peers.tally import Tally


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What a process is to be.

    Attributes:
        url: The database.
        kind: ``job``, ``workflow`` or ``message``: what is started and executed.
        steps: How many steps a workflow has.
        settings: The system's own options.
        expected: How many executions there will be; 0 where nobody knows.
    """

    url: str
    kind: str = "job"
    steps: int = 3
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])
    expected: int = 0

    @property
    def is_workflow(self) -> bool:
        """Whether it is about workflows."""
        return self.kind == "workflow"


class Client(ABC):
    """Starts and waits; it never executes."""

    @abstractmethod
    async def open(self, task: Task) -> None:
        """Connects; the schema is there, unless ``install`` comes next."""

    @abstractmethod
    async def install(self) -> None:
        """Makes the system's schema in an empty database."""

    @abstractmethod
    async def start(self, number: int) -> Any:
        """Starts one, a job or a workflow, durably; gives what ``wait`` needs."""

    @abstractmethod
    async def start_many(self, count: int, sent: float | None = None) -> None:
        """Starts so many, jobs or workflows, in the quickest way there is."""

    @abstractmethod
    async def wait(self, handle: Any) -> None:
        """Waits until this one has ended, durably, as the documentation says; else by looking at its row."""


class Worker(ABC):
    """Executes."""

    @abstractmethod
    async def run(self, task: Task, tally: Tally) -> None:
        """Executes everything and ticks once for each run; for ever."""
