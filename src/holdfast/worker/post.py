"""Sends signals from a run that this worker holds to its children."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from holdfast.store.connect import is_away
from holdfast.store.inbox import send_signal

if TYPE_CHECKING:
    from uuid import UUID

    from holdfast.core.seal import Seal
    from holdfast.store.link import Link


class Post:
    """One signal at a time, over a connection that is there for such things."""

    def __init__(self, link: Link, seal: Seal, *, limit: float) -> None:
        self._link = link
        self._seal = seal
        self._limit = limit

    async def send(self, run_id: UUID, name: str, payload: str, key: str) -> None:
        """Puts it into the run's inbox; nothing, where one with this key lies or lay there.

        Raises:
            RunEnded, RunNotFound: there is nobody who could receive it.
            Unstorable: it is too large.
        """
        text = self._seal.close(payload, what=f"the payload of signal {name!r}")
        try:
            async with asyncio.timeout(self._limit), self._link.session() as session:
                await send_signal(session, run_id, name=name, payload=text, key=key)
        except Exception as error:
            if is_away(error):
                self._link.discard()
            raise
