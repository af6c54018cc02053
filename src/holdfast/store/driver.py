"""The driver's connection, which learns about the types of the server once in a process."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import asyncpg

if TYPE_CHECKING:
    Usual = asyncpg.Connection[asyncpg.Record]
else:
    Usual = asyncpg.Connection

_ASSIGNED_BY_HAND = 10_000
"""Types with lower numbers are the same in every database of every server."""

_NOT_ASKED = SimpleNamespace(name="none")
"""In the place of a statement: no other that has no name has gone for it."""

_arrays: dict[int, asyncpg.Record] = {}

_ask: Any = getattr(asyncpg.Connection, "_introspect_types", None)


class DriverConnection(Usual):
    """A connection that does not ask what an array of uuids is if another one has asked before.

    The driver does so for each array type that a connection meets, in three round trips and with a query that takes the
    server some milliseconds. If a later version of the driver does it otherwise, this is passed by.
    """

    __slots__ = ()

    async def _introspect_types(self, typeoids: Sequence[int], *rest: Any, **more: Any) -> Any:
        asked = list(typeoids)
        if asked and all(oid in _arrays for oid in asked):
            return [_arrays[oid] for oid in asked], _NOT_ASKED
        found: Any = await _ask(self, typeoids, *rest, **more)
        rows: Sequence[asyncpg.Record] = found[0]
        for row in rows:
            # Arrays of what the driver knows by itself.
            if row["oid"] < _ASSIGNED_BY_HAND and 0 < row["elemtype"] < _ASSIGNED_BY_HAND:
                _arrays[row["oid"]] = row
        return found
