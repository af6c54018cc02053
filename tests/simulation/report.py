"""What became of one seed, as one process tells another, and as people are told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

_SHOWN = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Of one seed; without a trace, where its schedule could not begin or its process is gone."""

    seed: int
    wrong: list[str]
    """What has happened that may not; nothing, if all went well."""
    fell: bool = False
    """Whether that is an error that nobody has expected, which says nothing of the engine yet."""
    trace: list[str] = field(default_factory=list[str])
    trips: int = 0
    runs: int = 0
    calls: int = 0
    """Of activities."""
    deaths: int = 0
    waits: int = 0
    """Round trips that have waited for a lock."""
    befallen: Mapping[str, int] = field(default_factory=dict[str, int])
    suspect: str | None = None
    """What the tables say of a run at fault."""

    def tell(self, broken: str | None = None, *, again: str = "--seed") -> str:
        """What has gone wrong with this seed, on an engine that is broken so, and how it is shown ``again``."""
        lines = [f"seed {self.seed}, the end of its trace:" if self.trace else f"seed {self.seed}, without a trace:"]
        lines += self.trace[-_SHOWN:]
        lines += [f"WRONG: {sentence}" for sentence in self.wrong]
        if self.suspect is not None:
            lines.append(self.suspect)
        engine = "" if broken is None else f" --broken '{broken}'"
        return "\n".join([*lines, f"again: ./dev simulate {again} {self.seed}{engine}"])
