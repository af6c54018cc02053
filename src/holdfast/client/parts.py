"""The parts of one client: made together, opened together, closed in order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from holdfast.client.context import Context
from holdfast.client.database import Database
from holdfast.client.driven import Driven
from holdfast.client.ear import Ear
from holdfast.client.encoding import Encoder
from holdfast.client.hinter import Hinter
from holdfast.client.launch import Launch
from holdfast.client.lines import Lines
from holdfast.client.queues import Queues
from holdfast.client.replies import Replies
from holdfast.client.schedules import Schedules
from holdfast.client.starting import StartMiddleware
from holdfast.client.waiter import Waiter
from holdfast.client.watching import Watchers
from holdfast.core.definition import Definition
from holdfast.core.listeners import Listeners

if TYPE_CHECKING:
    from holdfast.core.seal import Seal
    from holdfast.store.statements import Statements

_CLOSING = 5.0
"""Seconds after which connections that are still in use are cut."""


class Parts:
    """What a client is made of.

    Args:
        dsn: Where the database is.
        statements: The statements for its schema.
        seal: The codec and the payload limit.
        definitions: The workflows and activities that are known here, by name; may be empty.
        pool_size: How many connections are opened at most, beside one that listens while results are awaited.
        hints: Notify workers of what is due, and listen for what has ended; without, both find out by looking.
        application: The connections' name in ``pg_stat_activity``.
        patience: How long a call is tried again while the database is away.
        middleware: What stands around starts.
        listeners: Who wants to know of them.
    """

    def __init__(
        self,
        *,
        dsn: str,
        statements: Statements,
        seal: Seal,
        definitions: Mapping[str, Definition[..., Any]],
        pool_size: int = 4,
        hints: bool = True,
        application: str = "holdfast client",
        patience: timedelta = timedelta(seconds=15),
        middleware: Sequence[StartMiddleware] = (),
        listeners: Listeners | None = None,
    ) -> None:
        self.database = database = Database(
            dsn, statements, application=application, size=pool_size, patience=patience.total_seconds()
        )
        self.encoder = Encoder(seal, definitions)
        self.launch = Launch(
            database,
            hints=hints,
            middleware=middleware,
            listeners=Listeners() if listeners is None else listeners,
        )
        self._ear = ear = Ear(database, hints=hints)
        self.context = Context(
            encoder=self.encoder,
            database=database,
            seal=seal,
            waiter=Waiter(database, ear),
            replies=Replies(database, ear),
            watchers=Watchers(database, ear, seal),
            hinter=Hinter(database, hints=hints),
            definitions=definitions,
        )
        self.schedules = Schedules(self.context, hints=hints)
        self._lines = lines = Lines(database, self.context.hinter, ear)
        self.driven = Driven(self.context, self.launch, lines, hints=hints)
        self.queues = Queues(self.context, self.launch, lines)

    async def open(self) -> None:
        """Connects.

        Raises:
            DatabaseError: it cannot be reached, refuses, or has no schema that this code runs on.
        """
        await self.database.open()

    async def close(self) -> None:
        """What was asked for is answered first; then nobody waits any more, and the connections go."""
        try:
            await self._lines.close()
            await self.launch.close()
            await self.context.hinter.close()
        finally:
            try:
                await self.context.waiter.close()
                await self.context.replies.close()
                await self.context.watchers.close()
                await self._ear.close()
            finally:
                await self.database.close(patience=_CLOSING)
