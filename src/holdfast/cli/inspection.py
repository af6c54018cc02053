"""Looking at settings, server and schema, as far as one gets; nothing is changed."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from holdfast.app import App
from holdfast.app.database import Database, reach_database
from holdfast.cli.findings import (
    Finding,
    Level,
    of_embedded,
    of_horizon,
    of_partitions,
    of_rights,
    of_server,
    of_settings,
    of_versions,
    of_workers,
)
from holdfast.core.errors import AccessDenied, DatabaseError, EmbeddedError, SchemaMismatch
from holdfast.embedded import EmbeddedPostgres
from holdfast.store.check import (
    read_horizon,
    read_live_workers,
    read_missing_rights,
    read_server,
    read_unserved_versions,
)
from holdfast.store.connect import connect, translated
from holdfast.store.migrate import code_version, read_applied, verify
from holdfast.store.partitions import read_partition_state
from holdfast.store.roles import CLIENT, OPERATOR, WORKER
from holdfast.store.session import Session


@dataclass(slots=True)
class Inspection:
    """What was found, and whether the database could be reached at all."""

    findings: list[Finding] = field(default_factory=list[Finding])
    reached: bool = False


async def inspect(app: App) -> Inspection:
    """Looks at everything that can be looked at.

    Raises:
        ConfigurationError: the settings cannot work; there is nothing to look at then.
    """
    settings = app.settings()
    inspection = Inspection(findings=of_settings(settings))
    try:
        if settings.database_url.value is None:
            description = await asyncio.to_thread(EmbeddedPostgres(settings.embedded).describe)
            inspection.findings += of_embedded(description)
        async with reach_database(settings) as database:
            await _look(database, inspection)
    except (DatabaseError, EmbeddedError) as error:
        inspection.findings.append(Finding(topic="server", text=str(error), level=Level.FAULT))
    return inspection


async def _look(database: Database, inspection: Inspection) -> None:
    connection = await connect(database.dsn, application="holdfast check")
    inspection.reached = True
    try:
        async with translated(database.dsn):
            session = Session(connection, database.statements)
            server = await read_server(session)
            inspection.findings += of_server(server)
            if not await _look_at_schema(session, inspection, may_create=server.may_create):
                return
            missing = {
                "client": await read_missing_rights(session, CLIENT),
                "worker": await read_missing_rights(session, WORKER),
                "operator": await read_missing_rights(session, OPERATOR),
            }
            inspection.findings += of_rights(missing, database.statements.schema)
            inspection.findings += of_partitions(await read_partition_state(session))
            inspection.findings += of_horizon(await read_horizon(session))
            inspection.findings += of_workers(await read_live_workers(session))
            inspection.findings += of_versions(await read_unserved_versions(session))
    finally:
        await connection.close()


async def _look_at_schema(session: Session, inspection: Inspection, *, may_create: bool) -> bool:
    """Whether there is a schema that can be looked at further."""
    schema = session.statements.schema
    try:
        async with translated():
            applied = await read_applied(session)
            verify(applied, schema)
    except AccessDenied as error:
        inspection.findings.append(Finding(topic="schema", text=str(error), level=Level.FAULT))
        return False
    except SchemaMismatch as error:
        able = "this user may make it" if may_create else "this user may not make schemas"
        inspection.findings.append(Finding(topic="schema", text=f"{error} ({able})", level=Level.FAULT))
        return False
    version = applied.version if applied else 0
    inspection.findings.append(
        Finding(
            topic="schema",
            text=f"{schema}, version {version}; this code is at {code_version()}",
            data={"schema": schema, "version": version, "code": code_version()},
        )
    )
    return True
