"""The settings of workers from every source, each with where it came from; all mistakes are reported at once.

Several lanes are several workers in one process. What a project's file says for one lane goes before what it says for
all of them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, cast

from holdfast.app.settings import truth_of
from holdfast.app.sources import WORKER, find_project_file, read_dotenv_file, table_of
from holdfast.core.errors import ConfigurationError
from holdfast.core.period import read_period
from holdfast.core.settings import SETTINGS, WorkerSettings, find_mistakes, suggest

PREFIX = "HOLDFAST_WORKER_"
"""What the variable of a setting begins with: ``HOLDFAST_WORKER_MAX_THREADS``."""

OF_THE_COMMAND = ("processes", "log_level", "log_format", "metrics_port")
"""Variables with the prefix that `holdfast worker` reads itself."""

LANES = "lanes"
"""The table of tables, one for each lane that has settings of its own."""

Source = Mapping[str, "Said"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What a source says of a setting. ``form``: a value of Python, one of a file, or a text that stands for one."""

    value: object
    origin: str
    form: Literal["python", "file", "text"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Configured:
    """The settings of one worker, and where each of them came from."""

    settings: WorkerSettings
    origins: Mapping[str, str]


def given_by(what: str, options: Mapping[str, object]) -> dict[str, Said]:
    """Options that were passed in Python; ``what`` was called with them."""
    return {name: Said(value=value, origin=f"{what}({name}=)", form="python") for name, value in options.items()}


def read_worker_settings(
    *given: Source, only_given: bool = False, environ: Mapping[str, str] | None = None, start: Path | None = None
) -> list[Configured]:
    """One for each lane: what was ``given``, else the environment, the project's file, ``.env``, the default.

    Raises:
        ConfigurationError: with every mistake in what decides, and every unknown name, each with its source.
    """
    sources = _Sources(given=given)
    if not only_given:
        sources.read(os.environ if environ is None else environ, Path.cwd() if start is None else start)
    reading = _Reading(sources)
    found = [reading.worker(lane) for lane in reading.lanes()]
    for source in given:
        reading.refuse_strangers(source, _NAMES)
    for source in (sources.file, *sources.of_lanes.values()):
        reading.refuse_strangers(source, SETTINGS)
    if mistakes := dict.fromkeys((*sources.mistakes, *reading.mistakes)):
        raise ConfigurationError(*mistakes)
    return [
        Configured(settings=WorkerSettings(**cast("dict[str, Any]", values)), origins=origins)
        for values, origins in found
    ]


@dataclass(slots=True)
class _Sources:
    """All of them, the first to be asked first; those of lanes come before that of the file as a whole."""

    given: Sequence[Source]
    environment: Source = field(default_factory=dict[str, Said])
    of_lanes: dict[str, Source] = field(default_factory=dict[str, Source])
    file: Source = field(default_factory=dict[str, Said])
    dotenv: Source = field(default_factory=dict[str, Said])
    mistakes: list[str] = field(default_factory=list[str])

    def read(self, environ: Mapping[str, str], start: Path) -> None:
        """Reads what is not given."""
        self.environment = self._variables(environ, "")
        try:
            self._read_file(start)
        except ConfigurationError as error:
            self.mistakes += error.mistakes
        try:
            if dotenv := read_dotenv_file(start, environ):
                path, variables = dotenv
                self.dotenv = self._variables(variables, f" in {path}")
        except ConfigurationError as error:
            self.mistakes += error.mistakes

    def of(self, lane: str) -> Sequence[Source]:
        """Those that count for this lane, in their order."""
        return (*self.given, self.environment, self.of_lanes.get(lane, {}), self.file, self.dotenv)

    def _read_file(self, start: Path) -> None:
        file = find_project_file(start)
        if file is None or WORKER not in file.values:
            return
        heading = f"{file.heading}.{WORKER}"
        values = dict(table_of(file.values[WORKER], file.path, heading))
        lanes = table_of(values.pop(LANES, {}), file.path, f"{heading}.{LANES}")
        self.file = self._table(values, f"[{heading}] in {file.path}")
        for lane, own in lanes.items():
            place = f"{heading}.{LANES}.{lane}"
            self.of_lanes[lane] = self._table(table_of(own, file.path, place), f"[{place}] in {file.path}")
            if "lane" in self.of_lanes[lane]:
                self.mistakes.append(f"lane ([{place}] in {file.path}): the heading says which lane this is for")

    def _table(self, values: Mapping[str, object], origin: str) -> Source:
        return {name: Said(value=value, origin=origin, form="file") for name, value in values.items()}

    def _variables(self, variables: Mapping[str, str], place: str) -> Source:
        """What is empty says nothing."""
        found: dict[str, Said] = {}
        for variable, text in variables.items():
            name = variable.removeprefix(PREFIX).lower()
            if not variable.startswith(PREFIX) or name in OF_THE_COMMAND or not text.strip():
                continue
            if name in SETTINGS:
                found[name] = Said(value=text.strip(), origin=f"{variable}{place}", form="text")
            else:
                known = [f"{PREFIX}{one.upper()}" for one in (*SETTINGS, *OF_THE_COMMAND)]
                self.mistakes.append(f"{variable}{place} is not a setting of a worker{suggest(variable, known)}")
        return found


class _Reading:
    """Looks settings up in the sources, and notes every mistake."""

    def __init__(self, sources: _Sources) -> None:
        self._sources = sources
        self.mistakes: list[str] = []

    def lanes(self) -> list[str]:
        """Which lanes are to be served."""
        for source in self._sources.of(""):
            if said := source.get("lane"):
                try:
                    return _lanes(said)
                except ValueError as error:
                    self.mistakes.append(f"lane ({said.origin}): {error}")
                    break
        return [_DEFAULT_LANE]

    def worker(self, lane: str) -> tuple[dict[str, object], dict[str, str]]:
        """The settings of the worker of this lane, and where they came from."""
        values: dict[str, object] = {}
        origins: dict[str, str] = {}
        for name in _NAMES:
            origins[name] = "default"
            for source in self._sources.of(lane):
                if said := source.get(name):
                    origins[name] = said.origin
                    values[name] = lane if name == "lane" else self._read(name, said)
                    break
        return values, origins

    def refuse_strangers(self, source: Source, known: Sequence[str]) -> None:
        """Notes what is no setting."""
        for name, said in source.items():
            if name not in known:
                near = suggest(name, SETTINGS)
                self.mistakes.append(f"{name!r} ({said.origin}) is not a setting of a worker{near}")

    def _read(self, name: str, said: Said) -> object:
        try:
            value = _value(name, said)
        except ValueError as error:
            self.mistakes.append(f"{name} ({said.origin}): {error}")
            return None
        self.mistakes += [f"{name} ({said.origin}): {words}" for _, words in find_mistakes({name: value})]
        return value


def _lanes(said: Said) -> list[str]:
    """One lane, or several: a list of them, or in a text with blanks between them.

    Raises:
        ValueError: one of them cannot be a lane, or comes twice.
    """
    value: object = said.value
    listed: list[object] = [value]
    if isinstance(value, str) and said.form != "python":
        listed = [*value.split()]
    elif isinstance(value, list | tuple):
        listed = [*cast("Sequence[object]", value)]
    if not listed:
        raise ValueError("at least one lane is needed")
    problems = [words for lane in listed for _, words in find_mistakes({"lane": lane})]
    twice = sorted({str(lane) for lane in listed if listed.count(lane) > 1})
    problems += [
        f"{lane!r} stands there twice; for more of one lane, set buckets or parallelism_factor" for lane in twice
    ]
    if problems:
        raise ValueError("; ".join(dict.fromkeys(problems)))
    return [str(lane) for lane in listed]


def _value(name: str, said: Said) -> object:
    """The value that is meant; what cannot be one is left to the check of the settings.

    Raises:
        ValueError: the text stands for none.
    """
    if said.form == "python":
        return said.value
    kind = _KINDS.get(name)
    value: object = said.value
    if isinstance(value, str):
        return value if kind is None else kind(value)
    if kind is _ages and isinstance(value, Mapping):
        return {word: _period(age) for word, age in cast("Mapping[str, object]", value).items()}
    return _period(value) if kind is read_period else value


def _period(value: object) -> object:
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        return read_period(str(value))
    return value


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a whole number") from None


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a number") from None


def _counts(text: str) -> dict[str, int]:
    """``critical=3 very-low=0``, with blanks or commas between them."""
    found: dict[str, int] = {}
    for word in filter(None, re.split(r"[\s,]+", text)):
        priority, _, count = word.partition("=")
        if not re.fullmatch(r"\d+", count):
            raise ValueError(f"{word!r}: write a priority and a number, such as very-low=0")
        if priority in found:
            raise ValueError(f"{priority!r} stands there twice")
        found[priority] = int(count)
    return found


def _ages(text: str) -> dict[str, timedelta]:
    """``succeeded=30d failed=90d``, with blanks or commas between them."""
    found: dict[str, timedelta] = {}
    for word in filter(None, re.split(r"[\s,]+", text)):
        status, equals, age = word.partition("=")
        if not equals:
            raise ValueError(f"{word!r}: write a status and a duration, such as succeeded=30d")
        if status in found:
            raise ValueError(f"{status!r} stands there twice")
        found[status] = read_period(age)
    return found


_NAMES = tuple(one.name for one in fields(WorkerSettings))
_DEFAULTS = WorkerSettings(name="for its defaults")
_DEFAULT_LANE = _DEFAULTS.lane


def _readers() -> Iterable[tuple[str, Callable[[str], object]]]:
    for name in _NAMES:
        match getattr(_DEFAULTS, name):
            case bool():
                yield name, truth_of
            case int():
                yield name, _whole
            case float():
                yield name, _number
            case timedelta():
                yield name, read_period
            case str():
                continue
            case _:
                yield name, _ages if name == "keep" else _counts


_KINDS: Mapping[str, Callable[[str], object]] = dict(_readers())
"""How the text of a setting is read, where it is not the text itself."""
