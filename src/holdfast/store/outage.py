"""An outage: the database cannot be reached. Everybody notices, and it is said once."""

from __future__ import annotations

import asyncio
import logging
import threading
import time

import asyncpg

from holdfast.core.errors import DatabaseError
from holdfast.store.connect import said

log = logging.getLogger("holdfast.store")

_CLASS_OF_CONNECTIONS = "08"
_SERVER_ENDS = frozenset({"57P01", "57P02", "57P03", "57P05"})
_NO_ROOM = "53300"


class Outage:
    """What all connections of one process know of it: a line when it begins, a line when it ends, none in between.

    It begins with the first connection that breaks or cannot be opened, and ends when one works that had failed, or was
    opened since. What breaks after that, and was opened before, is a remnant of it. May be used from several threads.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._failing: set[object] = set()
        self._ended_at = float("-inf")
        self.began_at: float | None = None
        """On the clock of ``time.monotonic()``; None while there is none."""

    def fails(self, who: object, opened_at: float | None, error: BaseException) -> bool:
        """Something has failed over this connection, which was opened then, or could not be.

        Gives whether it is because of an outage: then there is nothing more to say about it.
        """
        if not is_unreachable(error):
            return False
        with self._lock:
            if self.began_at is not None or (opened_at is not None and opened_at < self._ended_at):
                if self.began_at is not None:
                    self._failing.add(who)
                log.debug("the database is still away: %s", said(error))
                return True
            self.began_at = time.monotonic()
            self._failing.add(who)
        log.warning("the database is away (%s); all that needs it is tried again until it is back", _in_words(error))
        return True

    def works(self, who: object, opened_at: float) -> None:
        """This connection has just worked."""
        with self._lock:
            began_at = self.began_at
            if began_at is None or (who not in self._failing and opened_at < began_at):
                return
            self.began_at = None
            self._ended_at = time.monotonic()
            self._failing.clear()
        log.warning("the database is back, after %.1f s", time.monotonic() - began_at)


def is_unreachable(error: BaseException) -> bool:
    """Whether the server or the way to it is gone; not where it answers, and refuses."""
    if isinstance(error, DatabaseError) and error.__cause__ is not None:
        return is_unreachable(error.__cause__)
    if isinstance(error, OSError | TimeoutError | asyncio.IncompleteReadError):
        return True
    if isinstance(error, asyncpg.InterfaceError):
        return "clos" in str(error) or "another operation" in str(error)
    if isinstance(error, asyncpg.PostgresError):
        state = error.sqlstate or ""
        return state[:2] == _CLASS_OF_CONNECTIONS or state in _SERVER_ENDS or state == _NO_ROOM
    return isinstance(error, asyncpg.InternalClientError)


def _in_words(error: BaseException) -> str:
    return "no answer in time" if isinstance(error, TimeoutError) and not str(error) else said(error)
