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


def from_project_file(start: Path) -> dict[str, Found]:
    """What the nearest ``holdfast.toml``, or ``[tool.holdfast]`` in a ``pyproject.toml``, at or above ``start`` says.

    Raises:
        ConfigurationError: the file cannot be read, or sets what is not a setting.
    """
    for directory in (start, *start.parents):
        own = directory / "holdfast.toml"
        if own.is_file():
            document = _toml(own)
            strangers = [name for name in document if name != "holdfast"]
            if strangers:
                raise ConfigurationError(*(f"{own}: {name!r} stands outside of [holdfast]" for name in strangers))
            return _checked(document.get("holdfast", {}), own, directory)
        shared = directory / "pyproject.toml"
        if shared.is_file():
            tool: object = _toml(shared).get("tool", {})
            if isinstance(tool, dict) and "holdfast" in tool:
                return _checked(cast("dict[str, Any]", tool)["holdfast"], shared, directory)
    return {}


def from_dotenv(start: Path, environ: Mapping[str, str]) -> dict[str, Found]:
    """What the nearest ``.env`` says, from ``start`` up to the project's directory."""
    for directory in _up_to_project(start):
        file = directory / ".env"
        if file.is_file():
            try:
                text = file.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                raise ConfigurationError(f"{file} cannot be read: {error}") from error
            return from_environment(read_dotenv(text, environ), directory, f" in {file}")
    return {}


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


def _checked(table: object, file: Path, base: Path) -> dict[str, Found]:
    if not isinstance(table, dict):
        raise ConfigurationError(f"{file}: [holdfast] is not a table")
    values = cast("dict[str, object]", table)
    unknown = [name for name in values if name not in VARIABLES]
    if unknown:
        known = ", ".join(VARIABLES)
        raise ConfigurationError(*(f"{file}: {name!r} is not a setting; settings: {known}" for name in unknown))
    return {name: Found(value=value, origin=str(file), base=base) for name, value in values.items()}
