"""What a figure was measured on."""

from __future__ import annotations

import platform
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from bench.machine import Machine, look_at_machine

_ROOT = Path(__file__).parent.parent


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """Versions, machine, date, and the settings of the database server."""

    date: str
    holdfast: str
    commit: str | None
    """Of this checkout, with a mark if files differ from it; None: it is none."""
    python: str
    asyncpg: str
    uvloop: str | None
    machine: Machine
    postgres: Mapping[str, str]


def look_around(postgres: Mapping[str, str], *, data: Path | None = None) -> Environment:
    """The environment of this process, with a server that has these settings, and its data here if that is known."""
    return Environment(
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        holdfast=version("holdfast"),
        commit=_commit(),
        python=platform.python_version(),
        asyncpg=version("asyncpg"),
        uvloop=_version_if_installed("uvloop"),
        machine=look_at_machine(data),
        postgres=postgres,
    )


def _commit() -> str | None:
    commit = _git("rev-parse", "--short", "HEAD")
    return commit and commit + ("+changes" if _git("status", "--porcelain", "--untracked-files=no") else "")


def _git(*arguments: str) -> str | None:
    program = shutil.which("git")
    if program is None:
        return None
    try:
        said = subprocess.run([program, *arguments], cwd=_ROOT, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return said.stdout.strip()


def _version_if_installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
