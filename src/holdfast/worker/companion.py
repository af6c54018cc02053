"""Another engine that runs beside a worker in its process, as far as the worker has to know of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Companion:
    """What the worker tells it, and what it has the worker say.

    Attributes:
        schedules: What the process's code has of schedules, told to the database at registration: JSON, or None.
        registered: Called when the worker is there, also when it comes back under a new name.
        heard: Called with each hint that is not about the worker's own runs.
    """

    schedules: str | None
    registered: Callable[[], None]
    heard: Callable[[str], None]
