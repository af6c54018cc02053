"""The schema's versions: numbered SQL migrations, applied once each under a lock, checked by their digests.

The code runs on its own version and on the next one, so that a fleet can be deployed while the schema moves ahead of
it: each migration states the oldest code that it allows (``-- oldest code: 1``, in schema versions).
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING

from holdfast.core.errors import ConfigurationError, SchemaMismatch
from holdfast.store.statements import in_schema

if TYPE_CHECKING:
    from holdfast.store.session import Session

_OLDEST = re.compile(r"^-- oldest code: (\d+)\s*$", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """One step of the schema. ``checksum`` is that of the file, whatever the schema's name."""

    version: int
    name: str
    text: str
    checksum: str
    oldest_code: int


@cache
def migrations() -> tuple[Migration, ...]:
    """All migrations that this code has, in order."""
    found: list[Migration] = []
    for file in sorted(resources.files("holdfast.store.migrations").iterdir(), key=lambda f: f.name):
        if not file.name.endswith(".sql"):
            continue
        text = file.read_text(encoding="utf-8")
        number, _, name = file.name.removesuffix(".sql").partition("_")
        stated = _OLDEST.search(text)
        found.append(
            Migration(
                version=int(number),
                name=name,
                text=text,
                checksum=hashlib.sha256(text.encode()).hexdigest()[:16],
                oldest_code=int(stated.group(1)) if stated else int(number),
            )
        )
    return tuple(found)


def code_version() -> int:
    """The schema version that this code is written for."""
    return migrations()[-1].version


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What the database says about its schema: its version, and the oldest code that it allows."""

    version: int
    oldest_code: int
    checksums: dict[int, str]


async def read_applied(session: Session) -> Applied | None:
    """What is applied, or None where there is no schema."""
    if not await session.value("migration_table_exists", schema=session.statements.schema):
        return None
    rows = await session.fetch("applied_migrations")
    if not rows:
        return None
    return Applied(
        version=rows[-1]["version"],
        oldest_code=max(row["oldest_code"] for row in rows),
        checksums={row["version"]: row["checksum"] for row in rows},
    )


def verify(applied: Applied | None, schema: str) -> None:
    """Raises SchemaMismatch where this code cannot run on what is applied."""
    own = code_version()
    if applied is None:
        raise SchemaMismatch(f"there is no schema {schema!r} in this database; run `holdfast db setup`")
    if applied.version < own:
        raise SchemaMismatch(
            f"schema {schema!r} is at version {applied.version}, this code needs {own}; run `holdfast db setup`"
        )
    if applied.version > own and applied.oldest_code > own:
        raise SchemaMismatch(
            f"schema {schema!r} is at version {applied.version}, which allows code from version "
            f"{applied.oldest_code} on; this code is at {own}: deploy a newer release"
        )
    _verify_checksums(applied, schema)


def _verify_checksums(applied: Applied, schema: str) -> None:
    for migration in migrations():
        if migration.version <= applied.version and applied.checksums.get(migration.version) != migration.checksum:
            raise SchemaMismatch(
                f"migration {migration.version} ({migration.name}) in schema {schema!r} is not the one that this code "
                "has; the schema was made by another build: drop it, or run the release that made it"
            )


async def migrate(session: Session) -> list[Migration]:
    """Applies what is missing and gives it; many processes may call it at once, each migration is applied once.

    Must be called outside of a transaction: each migration is one of its own.
    """
    done: list[Migration] = []
    schema = session.statements.schema
    if not await session.value("is_plain_name", schema=schema):
        raise ConfigurationError(
            f"schema {schema!r} has a name that means something else to Postgres; choose another one"
        )
    await session.fetch("lock_migrations", schema=schema)
    try:
        if not await session.value("migration_table_exists", schema=schema):
            await session.connection.execute(in_schema(_FOUNDATION, schema))
        applied = await read_applied(session)
        have = 0
        if applied is not None:
            # Before anything is put on top of it.
            _verify_checksums(applied, schema)
            have = applied.version
        for migration in migrations():
            if migration.version <= have:
                continue
            async with session.connection.transaction():
                await session.connection.execute(in_schema(migration.text, schema))
                await session.fetch(
                    "record_migration",
                    version=migration.version,
                    name=migration.name,
                    checksum=migration.checksum,
                    oldest_code=migration.oldest_code,
                )
            done.append(migration)
    finally:
        if not session.connection.is_closed():
            await session.fetch("unlock_migrations", schema=schema)
    verify(await read_applied(session), schema)
    return done


def setup_sql(schema: str) -> str:
    """All migrations as one script, for those who apply SQL by other means."""
    parts = ["begin;", in_schema(_FOUNDATION, schema).strip()]
    for migration in migrations():
        parts.append(in_schema(migration.text, schema).strip())
        parts.append(
            f"insert into {schema}.migration (version, name, checksum, oldest_code)\n"
            f"values ({migration.version}, '{migration.name}', '{migration.checksum}', {migration.oldest_code});"
        )
    parts.append("commit;")
    return "\n\n".join(parts) + "\n"


_FOUNDATION = """
create schema if not exists {channel};
create table holdfast.migration (
  version     int primary key,
  name        text not null,
  checksum    text not null,
  oldest_code int not null,
  applied_at  timestamptz not null default clock_timestamp()
);
"""
