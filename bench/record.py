"""What is known of a scenario after it has been measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bench.figure import Figure, Target
from bench.tuning import Tuning


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One scenario with one tuning: its figures, or why there are none."""

    scenario: str
    title: str
    tuning: Tuning | None
    targets: tuple[Target, ...] = ()
    figures: tuple[Figure, ...] = ()
    failure: str | None = None

    def target(self, figure: Figure) -> Target | None:
        """What this figure should be, if anything."""
        return next((target for target in self.targets if target.figure == figure.name), None)

    def as_json(self) -> dict[str, Any]:
        """Everything in it, in what JSON knows."""
        return {
            "scenario": self.scenario,
            "title": self.title,
            "tuning": None
            if self.tuning is None
            else {
                "name": self.tuning.name,
                "parallelism_factor": self.tuning.parallelism_factor,
                "max_activities": self.tuning.max_activities,
            },
            "failure": self.failure,
            "figures": {figure.name: self._figure_as_json(figure) for figure in self.figures},
        }

    def _figure_as_json(self, figure: Figure) -> dict[str, Any]:
        low, high = figure.spread
        target = self.target(figure)
        return {
            "median": figure.median,
            "min": low,
            "max": high,
            "values": list(figure.values),
            "target": None if target is None else {"least": target.least, "most": target.most, "remark": target.remark},
            "reached": None if target is None else target.is_reached(figure.median),
        }
