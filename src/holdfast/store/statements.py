"""The named statements of one schema, read from the ``.sql`` files of this folder."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

from holdfast.core.errors import ConfigurationError

_NAME = re.compile(r"^-- name: (\w+)\s*$", re.MULTILINE)
_PARAMETER = re.compile(r"(?<!:):([a-z_][a-z0-9_]*)")
_SCHEMA = re.compile(r"[a-z_][a-z0-9_]{0,47}")


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement: its text with ``$1``, ``$2``, … and the names of its parameters in that order."""

    name: str
    text: str
    parameters: tuple[str, ...]

    def bind(self, values: Mapping[str, object]) -> list[object]:
        """The values in the order of the parameters; a KeyError names what is missing."""
        if len(values) != len(self.parameters):
            unknown = sorted(set(values) - set(self.parameters))
            missing = sorted(set(self.parameters) - set(values))
            raise KeyError(f"statement {self.name}: unknown {unknown}, missing {missing}")
        return [values[name] for name in self.parameters]


class Statements:
    """Every named statement of a folder with ``.sql`` files, written for one schema; ``statements["claim"]``."""

    def __init__(self, schema: str = "holdfast", *, folder: str = "holdfast.store") -> None:
        if not _SCHEMA.fullmatch(schema):
            raise ConfigurationError(
                f"schema {schema!r} is not a plain lower-case name of at most 48 letters, digits and underscores"
            )
        self.schema = schema
        self._texts = {name: in_schema(text, schema) for name, text in _sources(folder).items()}
        self._statements = {name: _positional(name, text) for name, text in self._texts.items()}
        self._shorter: dict[tuple[str, str], Statement] = {}

    def without(self, name: str, groups: str) -> Statement:
        """The named statement without those parameters whose names begin with one of these letters and ``_``.

        In their place stand empty arrays: each that is sent costs more than any statement that has nothing to do.
        """
        statement = self._shorter.get((name, groups))
        if statement is None:
            text = re.sub(rf"(?<!:):[{groups}]_\w+", "'{}'", self._texts[name]) if groups else self._texts[name]
            statement = self._shorter[name, groups] = _positional(name, text)
        return statement

    def __getitem__(self, name: str) -> Statement:
        return self._statements[name]

    def __iter__(self) -> Iterator[Statement]:
        return iter(self._statements.values())


def in_schema(text: str, schema: str) -> str:
    """SQL that is written for the schema ``holdfast``, rewritten for another one."""
    return text.replace("{channel}", schema).replace("holdfast.", f"{schema}.")


@cache
def _sources(folder: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for file in sorted(resources.files(folder).iterdir(), key=lambda f: f.name):
        if not file.name.endswith(".sql"):
            continue
        parts = _NAME.split(file.read_text(encoding="utf-8"))
        for name, text in zip(parts[1::2], parts[2::2], strict=True):
            if name in found:
                raise ValueError(f"statement {name} stands in two files; the second is {file.name}")
            found[name] = text.strip()
    return found


def _positional(name: str, text: str) -> Statement:
    order: list[str] = []

    def number(match: re.Match[str]) -> str:
        parameter = match.group(1)
        if parameter not in order:
            order.append(parameter)
        return f"${order.index(parameter) + 1}"

    code = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("--"))
    return Statement(name, _PARAMETER.sub(number, code), tuple(order))
