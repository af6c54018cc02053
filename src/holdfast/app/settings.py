"""The settings of an app as one tree, each with where it came from; all mistakes are reported at once."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Generic, TypeVar

from holdfast.app.sources import Found, from_dotenv, from_environment, from_project_file
from holdfast.core.errors import ConfigurationError
from holdfast.embedded import EmbeddedSettings
from holdfast.store.connect import hide_password
from holdfast.store.statements import Statements

T = TypeVar("T")

EMBEDDED = "embedded"
"""In place of a database URL: the embedded Postgres, whatever other sources say."""

DEFAULT_PAYLOAD_LIMIT = 131_072
_LARGEST_PAYLOAD_LIMIT = 64 * 1024 * 1024

_URL = re.compile(r"postgres(?:ql)?(?:\+\w+)?://")


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting(Generic[T]):
    """A value, and in words where it came from: ``DATABASE_URL in /srv/shop/.env``."""

    value: T
    origin: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AppSettings:
    """What an app runs with.

    Attributes:
        database_url: Which database; None is the embedded Postgres.
        schema: The schema that Holdfast's tables are in.
        payload_limit: The largest input, output or signal, in bytes as it is stored.
        auto_setup: Whether opening a client or worker makes or upgrades the schema.
        data_dir: Where the embedded Postgres keeps its data; None is ``.holdfast`` in the project.
        bin_dir: Where the programs of the embedded Postgres are; None looks for them.
        embedded: All settings of the embedded Postgres, the two above among them.
    """

    database_url: Setting[str | None]
    schema: Setting[str]
    payload_limit: Setting[int]
    auto_setup: Setting[bool]
    data_dir: Setting[Path | None]
    bin_dir: Setting[Path | None]
    embedded: EmbeddedSettings


def read_settings(
    given: Mapping[str, Found],
    embedded: EmbeddedSettings | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    start: Path | None = None,
) -> AppSettings:
    """What was ``given`` in the code, else the environment, else the project's file, else ``.env``, else the default.

    Raises:
        ConfigurationError: with every mistake, each naming its source.
    """
    environ = os.environ if environ is None else environ
    start = Path.cwd() if start is None else start
    mistakes: list[str] = []
    sources: list[Mapping[str, Found]] = [given, from_environment(environ, start)]
    for read in (partial(from_project_file, start), partial(from_dotenv, start, environ)):
        try:
            sources.append(read())
        except ConfigurationError as error:
            mistakes += error.mistakes

    def setting(name: str, default: T, parse: Callable[[Found], T]) -> Setting[T]:
        for source in sources:
            if found := source.get(name):
                try:
                    return Setting(value=parse(found), origin=found.origin)
                except ValueError as error:
                    mistakes.append(f"{name} ({found.origin}): {error}")
                    break
        return Setting(value=default, origin="default")

    database_url = setting("database_url", None, _url)
    schema = setting("schema", "holdfast", _schema)
    payload_limit = setting("payload_limit", DEFAULT_PAYLOAD_LIMIT, _payload_limit)
    auto_setup = setting("auto_setup", default=True, parse=_truth)
    data_dir = setting("data_dir", None, _path)
    bin_dir = setting("bin_dir", None, _path)
    if mistakes:
        raise ConfigurationError(*mistakes)
    if embedded is not None:
        data_dir = Setting(value=embedded.data_dir, origin="App(embedded=)")
        bin_dir = Setting(value=embedded.bin_dir, origin="App(embedded=)")
    return AppSettings(
        database_url=database_url,
        schema=schema,
        payload_limit=payload_limit,
        auto_setup=auto_setup,
        data_dir=data_dir,
        bin_dir=bin_dir,
        embedded=embedded or EmbeddedSettings(data_dir=data_dir.value, bin_dir=bin_dir.value),
    )


def _url(found: Found) -> str | None:
    url = _text(found)
    if url == EMBEDDED:
        return None
    scheme = _URL.match(url)
    if scheme is None:
        raise ValueError(
            f"{hide_password(url)!r} is not the URL of a Postgres; it looks like "
            "postgresql://user:password@host:5432/database. Set HOLDFAST_DATABASE_URL to one, or to "
            f"{EMBEDDED!r} for a Postgres that Holdfast runs itself"
        )
    # Other libraries name their driver in the scheme; the address is the same.
    return "postgresql://" + url[scheme.end() :]


def _schema(found: Found) -> str:
    name = _text(found)
    try:
        Statements(name)
    except ConfigurationError as error:
        raise ValueError(str(error)) from error
    return name


def _payload_limit(found: Found) -> int:
    try:
        limit = int(str(found.value)) if not isinstance(found.value, bool) else -1
    except ValueError:
        limit = -1
    if not 1 <= limit <= _LARGEST_PAYLOAD_LIMIT:
        raise ValueError(f"{found.value!r} is not a number of bytes from 1 to {_LARGEST_PAYLOAD_LIMIT}")
    return limit


def _truth(found: Found) -> bool:
    return truth_of(found.value)


def truth_of(value: object) -> bool:
    """What stands for true or false.

    Raises:
        ValueError: it stands for neither.
    """
    word = str(value).strip().lower()
    if word in {"true", "yes", "on", "1"}:
        return True
    if word in {"false", "no", "off", "0"}:
        return False
    raise ValueError(f"{value!r} is neither true nor false")


def _path(found: Found) -> Path:
    if isinstance(found.value, Path):
        return found.base / found.value
    return found.base / Path(_text(found)).expanduser()


def _text(found: Found) -> str:
    match found.value:
        case str() as value if text := value.strip():
            return text
        case str():
            raise ValueError("is empty")
        case other:
            raise ValueError(f"{other!r} is not a text")
