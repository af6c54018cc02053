"""The memory of a process, as the kernel counts it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """Resident memory in MB (10^6 bytes): now, and the most that it ever was."""

    now: float
    peak: float

    @classmethod
    def of(cls, pid: int | str = "self") -> Footprint:
        """That of a process."""
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
        found = dict(line.split(":", 1) for line in lines)
        return cls(now=_megabytes(found["VmRSS"]), peak=_megabytes(found["VmHWM"]))


def _megabytes(text: str) -> float:
    return int(text.split(maxsplit=1)[0]) * 1024 / 1e6
