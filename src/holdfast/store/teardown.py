"""Taking the schema away again: for demos and tests, whose data nobody will miss."""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.store.statements import in_schema

if TYPE_CHECKING:
    from holdfast.store.session import Session


async def drop_schema(session: Session) -> None:
    """Drops the schema with all that is in it."""
    await session.connection.execute(in_schema("drop schema if exists {channel} cascade", session.statements.schema))
