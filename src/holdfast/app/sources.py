"""Where settings come from: the environment, the project's files; each value with the words for its place."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from holdfast.app.dotenv import read_dotenv
from holdfast.core.errors import ConfigurationError

VARIABLES: Mapping[str, tuple[str, ...]] = {
    "database_url": ("HOLDFAST_DATABASE_URL", "DATABASE_URL"),
    "schema": ("HOLDFAST_SCHEMA",),
    "payload_limit": ("HOLDFAST_PAYLOAD_LIMIT",),
    "auto_setup": ("HOLDFAST_AUTO_SETUP",),
    "data_dir": ("HOLDFAST_DATA_DIR",),
    "bin_dir": ("HOLDFAST_BIN_DIR",),
}
"""Every setting that has a source outside of the code, with its variables; the first one that is set counts."""

WORKER = "worker"
"""The table in a project's file for settings of workers: see :mod:`holdfast.app.worker_settings`."""

_PROJECT_MARKS = ("pyproject.toml", "holdfast.toml", ".git")


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A value as it was found, and where; ``base`` is what a relative path in it refers to."""

    value: object
    origin: str
    base: Path


def from_environment(environ: Mapping[str, str], base: Path, place: str = "") -> dict[str, Found]:
    """What the variables say; one that is empty says nothing."""
    found: dict[str, Found] = {}
    for setting, variables in VARIABLES.items():
        for variable in variables:
            if value := environ.get(variable, "").strip():
                found[setting] = Found(value=value, origin=f"{variable}{place}", base=base)
                break
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectFile:
    """The file that decides for a project, and its table."""

    path: Path
    heading: str
    values: Mapping[str, object]


def find_project_file(start: Path) -> ProjectFile | None:
    """The nearest ``holdfast.toml``, or ``[tool.holdfast]`` in a ``pyproject.toml``, at or above ``start``.

    Raises:
        ConfigurationError: it cannot be read, or is not made of tables.
    """
    for directory in (start, *start.parents):
        own = directory / "holdfast.toml"
        if own.is_file():
            document = _toml(own)
            strangers = [name for name in document if name != "holdfast"]
            if strangers:
                raise ConfigurationError(*(f"{own}: {name!r} stands outside of [holdfast]" for name in strangers))
            return ProjectFile(path=own, heading="holdfast", values=table_of(document.get("holdfast", {}), own))
        shared = directory / "pyproject.toml"
        if shared.is_file():
            tool: object = _toml(shared).get("tool", {})
            if isinstance(tool, dict) and "holdfast" in tool:
                values = table_of(cast("dict[str, Any]", tool)["holdfast"], shared)
                return ProjectFile(path=shared, heading="tool.holdfast", values=values)
    return None


def from_project_file(start: Path) -> dict[str, Found]:
    """What the file that decides for the project says about its app.

    Raises:
        ConfigurationError: the file cannot be read, or sets what is not a setting.
    """
    file = find_project_file(start)
    if file is None:
        return {}
    values = {name: value for name, value in file.values.items() if name != WORKER}
    unknown = [name for name in values if name not in VARIABLES]
    if unknown:
        known = ", ".join(VARIABLES)
        raise ConfigurationError(*(f"{file.path}: {name!r} is not a setting; settings: {known}" for name in unknown))
    origin, base = str(file.path), file.path.parent
    return {name: Found(value=value, origin=origin, base=base) for name, value in values.items()}


def read_dotenv_file(start: Path, environ: Mapping[str, str]) -> tuple[Path, dict[str, str]] | None:
    """The nearest ``.env``, from ``start`` up to the project's directory, with the variables in it.

    Raises:
        ConfigurationError: it cannot be read.
    """
    for directory in _up_to_project(start):
        file = directory / ".env"
        if file.is_file():
            try:
                text = file.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                raise ConfigurationError(f"{file} cannot be read: {error}") from error
            return file, read_dotenv(text, environ)
    return None


def table_of(value: object, file: Path, heading: str = "holdfast") -> dict[str, object]:
    """What stands in a file as a table.

    Raises:
        ConfigurationError: it is none.
    """
    if not isinstance(value, dict):
        raise ConfigurationError(f"{file}: [{heading}] is not a table")
    return cast("dict[str, object]", value)


def from_dotenv(start: Path, environ: Mapping[str, str]) -> dict[str, Found]:
    """What the nearest ``.env`` says about the app."""
    found = read_dotenv_file(start, environ)
    if found is None:
        return {}
    file, variables = found
    return from_environment(variables, file.parent, f" in {file}")


def _up_to_project(start: Path) -> Iterator[Path]:
    """The directories from ``start`` to the nearest one with a project's mark; where none has one, ``start`` alone."""
    passed: list[Path] = []
    for directory in (start, *start.parents):
        passed.append(directory)
        if any((directory / mark).exists() for mark in _PROJECT_MARKS):
            yield from passed
            return
    yield start


def _toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationError(f"{file} cannot be read: {error}") from error
