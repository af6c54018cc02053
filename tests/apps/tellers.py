"""Who says for the bank what a booking has to say, in each library.

Statements are written once, with ``:name`` for their parameters.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

LIBRARY = "HOLDFAST_TEST_LIBRARY"
"""The environment variable that says which library the worker's bookings speak."""

LIBRARIES = ["asyncpg", "psycopg", "psycopg in threads", "SQLAlchemy", "SQLAlchemy over psycopg", "Django"]

_NAMED = re.compile(r"(?<!:):(\w+)")

Say = Callable[..., Awaitable[Any]]
SayAtOnce = Callable[..., Any]


@dataclass(frozen=True)
class Teller:
    """What ``transactional=`` is, and who says a statement and gives its first value: one of the two."""

    library: Any
    say: Say | None = None
    say_at_once: SayAtOnce | None = None
    """In libraries that block."""


def teller(name: str, dsn: str) -> Teller:
    match name:
        case "asyncpg":
            from holdfast.integrations.asyncpg import Asyncpg

            return Teller(Asyncpg(), say=_in_asyncpg)
        case "psycopg":
            from holdfast.integrations.psycopg import Psycopg

            return Teller(Psycopg(), say=_in_psycopg)
        case "psycopg in threads":
            from holdfast.integrations.psycopg import Psycopg

            return Teller(Psycopg(gives="blocking"), say_at_once=_in_psycopg_at_once)
        case "SQLAlchemy":
            return _of_sqlalchemy("asyncpg", "session")
        case "SQLAlchemy over psycopg":
            return _of_sqlalchemy("psycopg", "connection")
        case "Django":
            from tests.integrations.ways import of_django

            return Teller(of_django(dsn), say_at_once=_in_django)
        case _:
            raise LookupError(name)


def _of_sqlalchemy(driver: Literal["asyncpg", "psycopg"], gives: Literal["session", "connection"]) -> Teller:
    from holdfast.integrations.sqlalchemy import SQLAlchemy

    return Teller(SQLAlchemy(driver=driver, gives=gives), say=_in_sqlalchemy)


async def _in_asyncpg(connection: Any, sql: str, **values: object) -> Any:
    places: dict[str, str] = {}
    text = _NAMED.sub(lambda found: places.setdefault(found[1], f"${len(places) + 1}"), sql)
    return await connection.fetchval(text, *[values[name] for name in places])


async def _in_psycopg(connection: Any, sql: str, **values: object) -> Any:
    cursor = await connection.execute(_NAMED.sub(r"%(\1)s", sql), values)
    return (await cursor.fetchone())[0] if cursor.description else None


def _in_psycopg_at_once(connection: Any, sql: str, **values: object) -> Any:
    cursor = connection.execute(_NAMED.sub(r"%(\1)s", sql), values)
    return cursor.fetchone()[0] if cursor.description else None


async def _in_sqlalchemy(given: Any, sql: str, **values: object) -> Any:
    from sqlalchemy import text

    result = await given.execute(text(sql), values)
    return result.scalar() if result.returns_rows else None


def _in_django(connection: Any, sql: str, **values: object) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(_NAMED.sub(r"%(\1)s", sql), _without_types(values))
        return cursor.fetchone()[0] if cursor.description else None


def _without_types(values: Mapping[str, object]) -> Mapping[str, object]:
    return {name: value if isinstance(value, int) else str(value) for name, value in values.items()}
