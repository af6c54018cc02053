"""How the worker is set up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """The options of the worker that a scenario is run with; everything else has its default."""

    name: str
    parallelism_factor: float
    max_activities: int

    @property
    def arguments(self) -> Sequence[str]:
        """The options as ``holdfast worker`` takes them."""
        return (
            f"--parallelism-factor={self.parallelism_factor:g}",
            f"--max-activities={self.max_activities}",
        )


HIGH = Tuning(name="high", parallelism_factor=125.0, max_activities=1000)
"""Room for 500 runs of medium priority at once, so that commits are as full as they get."""
DEFAULT = Tuning(name="default", parallelism_factor=1.0, max_activities=100)
"""What a worker has that is not told anything."""
