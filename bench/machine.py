"""The kind of machine that a figure was measured on, as far as it can be told without naming the machine."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path

_PROCESSORS = Path("/proc/cpuinfo")
_MOUNTS = Path("/proc/self/mountinfo")
_BLOCKS = Path("/sys/dev/block")


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What it is made of, and how busy it was.

    Attributes:
        processor: The model.
        cores: How many of them there are for this process, and others.
        architecture: What they execute.
        memory: In GiB, if that can be told.
        storage: The kind of storage that the database is on, if that can be told.
        load: Processes that ran or waited in the last minute before it began, if that can be told.
    """

    processor: str
    cores: int
    architecture: str
    memory: float | None
    storage: str | None
    load: float | None

    def __str__(self) -> str:
        parts = [
            f"{self.cores} cores of {self.processor} ({self.architecture})",
            "memory unknown" if self.memory is None else f"{self.memory:.3g} GiB of memory",
            f"data on {self.storage or 'storage of an unknown kind'}",
            "load unknown" if self.load is None else f"load {self.load:.2f} at the start",
        ]
        return ", ".join(parts)


def look_at_machine(data: Path | None) -> Machine:
    """This machine; ``data`` is the folder of the database, if it is here."""
    return Machine(
        processor=_processor() or platform.processor() or "an unknown model",
        cores=os.cpu_count() or 1,
        architecture=platform.machine(),
        memory=_memory(),
        storage=None if data is None else _storage(data),
        load=_load(),
    )


def _processor() -> str | None:
    for line in _lines(_PROCESSORS):
        name, _, value = line.partition(":")
        if name.strip() in {"model name", "Model", "cpu model"} and value.strip():
            return " ".join(value.split())
    return None


def _memory() -> float | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    except (AttributeError, OSError, ValueError):
        return None


def _load() -> float | None:
    try:
        return round(os.getloadavg()[0], 2)
    except (AttributeError, OSError):
        return None


def _storage(data: Path) -> str | None:
    """The file system, and what is below it where that can be seen."""
    try:
        device = data.stat().st_dev
    except OSError:
        return None
    number = f"{os.major(device)}:{os.minor(device)}"
    mounts = (line.split(" - ", 1) for line in _lines(_MOUNTS) if " - " in line)
    system = next((right.split()[0] for left, right in mounts if left.split()[2] == number), None)
    block = _BLOCKS / number
    # A partition lies in the folder of its disk.
    turns = _lines(block / "queue" / "rotational") or _lines(block / ".." / "queue" / "rotational")
    below = {"0": "solid-state or virtual disk", "1": "rotating or virtual disk"}.get("".join(turns).strip())
    return " on a ".join(part for part in (system, below) if part) or None


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
