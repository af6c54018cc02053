"""What a figure was measured on."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """Versions, cores, date, and the settings of the database server."""

    date: str
    holdfast: str
    python: str
    asyncpg: str
    uvloop: str | None
    cores: int
    architecture: str
    postgres: Mapping[str, str]


def look_around(postgres: Mapping[str, str]) -> Environment:
    """The environment of this process, with a server that has these settings."""
    return Environment(
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        holdfast=version("holdfast"),
        python=platform.python_version(),
        asyncpg=version("asyncpg"),
        uvloop=_version_if_installed("uvloop"),
        cores=os.cpu_count() or 1,
        architecture=platform.machine(),
        postgres=postgres,
    )


def _version_if_installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
