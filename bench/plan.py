"""How long and how often is measured."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The lengths of one sitting, all of them in proportion to ``seconds``.

    Attributes:
        seconds: How long each repetition is measured, after its warm-up.
        repeat: How many repetitions there are.
        parked: How many parked runs are in the table where there are any.
        days: Into how many days the tables are divided; 0: they are not.
        minutes: How long a soak lasts.
        profile: The directory that profiles are written to, if any are.
    """

    seconds: float = 10.0
    repeat: int = 2
    parked: int = 1_000_000
    days: int = 0
    minutes: float = 30.0
    profile: Path | None = None

    @property
    def warm_up(self) -> float:
        """The seconds at the beginning that do not count: 2 in a measurement of 10 or more."""
        return min(2.0, self.seconds / 5)

    @property
    def cool_down(self) -> float:
        """The seconds at the end that do not count, in which a backlog runs dry: half a second in 10."""
        return min(0.5, self.seconds / 20)

    @property
    def long(self) -> float:
        """The seconds of a measurement that looks for a decline: a minute for 10."""
        return 6 * self.seconds

    @property
    def samples(self) -> int:
        """How many latencies make a percentile: 500 for 10 seconds."""
        return max(10, round(50 * self.seconds))
