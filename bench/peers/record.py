"""What is known of one system in one scenario."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bench.figure import Figure
from bench.peers.peer import Batch

CEILING = "ceiling"
"""The name under which the bare database stands among the systems."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerRecord:
    """The figures of one system, or why there are none.

    Attributes:
        scenario: What was measured.
        batch: With what size of batches.
        system: Whom.
        figures: One value for each repetition.
        absent: Why it does not take part: it could not be installed, or does not know such a thing.
        failure: What went wrong.
    """

    scenario: str
    batch: Batch
    system: str
    figures: tuple[Figure, ...] = ()
    absent: str | None = None
    failure: str | None = None

    def figure(self, name: str) -> Figure | None:
        """The figure of this name, if there is one."""
        return next((figure for figure in self.figures if figure.name == name), None)

    def as_json(self) -> dict[str, Any]:
        """Everything in it, in what JSON knows."""
        return {
            "scenario": self.scenario,
            "batch": self.batch,
            "system": self.system,
            "absent": self.absent,
            "failure": self.failure,
            "figures": {
                figure.name: {
                    "median": figure.median,
                    "min": figure.spread[0],
                    "max": figure.spread[1],
                    "values": list(figure.values),
                }
                for figure in self.figures
            },
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Records:
    """Everything that was measured in one sitting."""

    records: tuple[PeerRecord, ...]

    def of(self, scenario: str, batch: Batch, system: str) -> PeerRecord | None:
        """What is known of this one, if anything."""
        found = (
            one for one in self.records if one.scenario == scenario and one.batch == batch and one.system == system
        )
        return next(found, None)

    @property
    def failures(self) -> Sequence[PeerRecord]:
        """Where somebody who is here failed; who is absent did not."""
        return [one for one in self.records if one.failure is not None]

    def median(self, scenario: str, batch: Batch, system: str, figure: str) -> float | None:
        """The median of one figure, if there is one."""
        record = self.of(scenario, batch, system)
        found = record.figure(figure) if record is not None else None
        return found.median if found is not None else None
