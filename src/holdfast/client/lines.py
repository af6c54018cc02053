"""The lines of one client, of queues and of runs that are driven by hand: one exchange each, one look-out for all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from holdfast.client.exchange import Exchange
from holdfast.client.lookout import Lookout
from holdfast.store.taking import read_due

if TYPE_CHECKING:
    from holdfast.client.database import Database
    from holdfast.client.ear import Ear
    from holdfast.client.hinter import Hinter
    from holdfast.core.errors import HoldfastError
    from holdfast.store.session import Session


class Lines:
    """Gives the exchange of a line. All for which somebody waits share one look at the database, now and then."""

    def __init__(self, database: Database, hinter: Hinter, ear: Ear) -> None:
        self._database = database
        self._hinter = hinter
        self._exchanges: dict[str, Exchange] = {}
        self._lookout = Lookout(database, ear, self, name="lines")
        ear.attach(heard=self._hear, opened=self._lookout.stir)

    def exchange(self, line: str, *, driven: bool = False) -> Exchange:
        """The exchange of this line, the same each time; ``driven`` where runs stand there that are driven by hand."""
        exchange = self._exchanges.get(line)
        if exchange is None:
            exchange = self._exchanges[line] = Exchange(
                line, self._database, self._hinter, driven=driven, rests=self._lookout.begin
            )
        return exchange

    async def close(self) -> None:
        """Settles what is to be settled, and ends every wait with an error."""
        await self._lookout.close()
        await asyncio.gather(*(exchange.close() for exchange in self._exchanges.values()))

    # ---- what the look-out asks

    @property
    def open(self) -> int:
        """How many wait."""
        return sum(exchange.waiting for exchange in self._exchanges.values())

    async def look_at_all(self, session: Session) -> bool:
        """One look at all lines that somebody waits for; the rest is done by their exchanges."""
        lines = [line for line, exchange in self._exchanges.items() if exchange.waiting]
        for line, due_in in (await read_due(session, lines)).items():
            if due_in <= 0.0:
                self._exchanges[line].stir()
            else:
                self._exchanges[line].stir_in(due_in)
        return False

    def give_up(self, error: Callable[[], HoldfastError], cause: Exception | None) -> None:
        """Ends every wait with an error, one each."""
        for exchange in self._exchanges.values():
            exchange.give_up(error, cause)

    def _hear(self, payload: str) -> None:
        word, _, line = payload.partition(" ")
        if word == "due" and line in self._exchanges:
            self._exchanges[line].stir()
