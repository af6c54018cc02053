"""Ids for runs to be, made by this client: each larger than the one before."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from holdfast.core.ids import MOST_COUNT, uuid7

if TYPE_CHECKING:
    from uuid import UUID

_DRAWN = 8
"""Bytes of entropy for one id."""
_DRAWN_AT_ONCE = 512 * _DRAWN


class _Process:
    forks = 0
    """Between this process and the first of its family."""

    @classmethod
    def forked(cls) -> None:
        cls.forks += 1


os.register_at_fork(after_in_child=_Process.forked)


class Ids:
    """Makes UUIDv7 ids in growing order, also within a millisecond and when the clock is set back."""

    def __init__(self) -> None:
        self._unix_ms = 0
        self._count = 0
        self._entropy = b""
        self._used = 0
        self._forks = _Process.forks

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
        return uuid7(self._unix_ms, self._count, self._draw())

    def _draw(self) -> int:
        """Entropy, asked of the system for many ids at once: each call of it costs as much as all the rest."""
        at = self._used
        if at == len(self._entropy) or self._forks != _Process.forks:
            # What a process has drawn is not for the one that is forked from it.
            self._entropy, self._forks, at = os.urandom(_DRAWN_AT_ONCE), _Process.forks, 0
        self._used = at + _DRAWN
        return int.from_bytes(self._entropy[at : at + _DRAWN])
