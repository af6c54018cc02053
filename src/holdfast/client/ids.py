"""Ids for runs to be, made by this client: each larger than the one before."""

from __future__ import annotations

import os
import time
from uuid import UUID

from holdfast.core.ids import MOST_COUNT, uuid7


class Ids:
    """Makes UUIDv7 ids in growing order, also within a millisecond and when the clock is set back."""

    def __init__(self) -> None:
        self._unix_ms = 0
        self._count = 0

    def next(self) -> UUID:
        """A new id."""
        now = time.time_ns() // 1_000_000
        if now > self._unix_ms:
            self._unix_ms, self._count = now, 0
        elif self._count < MOST_COUNT:
            self._count += 1
        else:
            # More than 4,096 in one millisecond: they run ahead of the clock a little.
            self._unix_ms, self._count = self._unix_ms + 1, 0
        return uuid7(self._unix_ms, self._count, int.from_bytes(os.urandom(8)))
