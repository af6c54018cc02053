"""The store's statements over the connection of another library: in its parameters, with errors in words of ours."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from enum import Enum
from functools import cache
from typing import Any, NamedTuple, cast
from uuid import UUID

import asyncpg

from holdfast.core.errors import InvalidInput
from holdfast.store.session import Session
from holdfast.store.statements import Statement, Statements

_NUMBERED = re.compile(r"\$(\d+)")
_AWAY = {"OperationalError", "InterfaceError"}
"""What the libraries raise when a connection is gone: one of these that the server did not send."""


class Rows(NamedTuple):
    """What a statement gave: its columns, and a sequence of values for each row."""

    columns: Sequence[str]
    values: Sequence[Sequence[Any]]


class Row(Sequence[Any]):
    """One row, read like one of asyncpg: by place or by name."""

    __slots__ = ("_names", "_values")

    def __init__(self, names: Mapping[str, int], values: Sequence[Any]) -> None:
        self._names = names
        self._values = values

    def __getitem__(self, key: Any) -> Any:
        return self._values[self._names[key] if isinstance(key, str) else key]

    def __len__(self) -> int:
        return len(self._values)


class ForeignSession(Session):
    """A session whose rows come from elsewhere; its errors are those of asyncpg, with the original as their cause."""

    def __init__(self, connection: object, statements: Statements) -> None:
        super().__init__(cast("Any", connection), statements)

    async def rows(self, statement: Statement, values: Mapping[str, object]) -> Rows:
        """The rows that the library gives for this statement."""
        raise NotImplementedError

    async def fetch(self, name: str, /, **values: object) -> list[asyncpg.Record]:
        """The rows."""
        return await self._fetch(self.statements[name], values)

    async def row(self, name: str, /, **values: object) -> asyncpg.Record | None:
        """The first row."""
        rows = await self.fetch(name, **values)
        return rows[0] if rows else None

    async def value(self, name: str, /, **values: object) -> Any:
        """The first column of the first row."""
        row = await self.row(name, **values)
        return None if row is None else row[0]

    async def call(self, name: str, /, values: Sequence[object], *, without: str = "") -> list[asyncpg.Record]:
        """With the values in the statement's order."""
        statement = self.statements.without(name, without)
        return await self._fetch(statement, dict(zip(statement.parameters, values, strict=True)))

    async def _fetch(self, statement: Statement, values: Mapping[str, object]) -> list[asyncpg.Record]:
        statement.bind(values)
        plain = {key: _plain(value) for key, value in values.items()}
        try:
            found = await self.rows(statement, plain)
        except Exception as error:
            translated = as_driver_error(error)
            if translated is error:
                raise
            raise translated from error
        names = {column: place for place, column in enumerate(found.columns)}
        return cast("list[asyncpg.Record]", [Row(names, values) for values in found.values])


@cache
def as_pyformat(statement: Statement) -> str:
    """The statement with ``%(name)s`` for its parameters."""
    text = statement.text.replace("%", "%%")
    return _NUMBERED.sub(lambda found: f"%({statement.parameters[int(found[1]) - 1]})s", text)


def as_driver_error(error: Exception) -> Exception:
    """What asyncpg would raise where a server or a network says this; the error itself where neither has."""
    state = _state(error)
    if state is not None:
        # What the driver of its own library said, where that has wrapped it.
        message = str(error.__cause__ or error).strip()
        return asyncpg.PostgresError.new({"S": "ERROR", "V": "ERROR", "C": state, "M": message})
    if any(one.__name__ in _AWAY for one in type(error).__mro__):
        return ConnectionError(str(error).strip() or type(error).__name__)
    return error


def cut_off(connection: Any) -> None:
    """Breaks off a driver's connection, from whatever thread, also while another one waits for it; never waits.

    The socket is shut and not closed: its number belongs to the driver until that has noticed.
    """
    if connection is None:
        return
    with suppress(Exception):
        if hasattr(connection, "terminate"):
            connection.terminate()
        else:
            with socket.socket(fileno=os.dup(connection.fileno())) as line:
                line.shutdown(socket.SHUT_RDWR)


def not_known(connection: object) -> InvalidInput:
    """What is said of a connection of which nobody knows how to speak over it."""
    kind = f"{type(connection).__module__}.{type(connection).__qualname__}"
    return InvalidInput(
        "connection= takes a connection of asyncpg, psycopg or Django, or a session or connection of SQLAlchemy over "
        f"asyncpg or psycopg, and not {kind}"
    )


def _state(error: BaseException | None) -> str | None:
    """The SQLSTATE that the server has sent, however deep it was wrapped."""
    seen = 0
    while error is not None and seen < 5:
        for name in ("sqlstate", "pgcode"):
            state = getattr(error, name, None)
            if isinstance(state, str):
                return state
        error, seen = getattr(error, "orig", None) or error.__cause__, seen + 1
    return None


def _plain(value: object) -> object:
    """Without enums and UUIDs, of which each library thinks something else; the statements cast what they take."""
    match value:
        case Enum():
            return value.value
        case UUID():
            return str(value)
        case list() | tuple():
            # An array; tuples are records to some.
            return [_plain(one) for one in cast("Sequence[object]", value)]
        case _:
            return value
