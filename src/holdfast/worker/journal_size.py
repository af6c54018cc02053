"""How long the journal of a run has become: a warning on the way, and an end before it can become endless."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from holdfast.core.errors import JournalFull
from holdfast.core.failure import Failure
from holdfast.core.states import Ending
from holdfast.workflow.instance import Ended

if TYPE_CHECKING:
    from collections.abc import Sequence

    from holdfast.core.journal import Entry
    from holdfast.core.settings import JournalLimits
    from holdfast.store.work import Claimed
    from holdfast.store.writes import JournalWrite

log = logging.getLogger("holdfast.worker")


class JournalSize:
    """Rows and bytes of one journal, as far as this worker knows; of bytes the payloads count, as they are stored."""

    __slots__ = ("_limits", "_name", "_next_bytes", "_next_rows", "_run_id", "bytes", "rows")

    def __init__(self, claimed: Claimed, journal: Sequence[Entry], limits: JournalLimits) -> None:
        self._run_id = claimed.run_id
        self._name = claimed.name
        self._limits = limits
        self.rows = len(journal)
        self.bytes = _payload(journal) if journal else 0
        self._look_ahead()

    def add(self, rows: Sequence[JournalWrite]) -> Ended | None:
        """Counts rows that are to be written; where they would be too many, how the run ends instead of it.

        Warns once on the way. It is asked at every write, so it compares with what comes next and no more.
        """
        self.rows += len(rows)
        self.bytes += _payload(rows)
        if self.rows <= self._next_rows and self.bytes <= self._next_bytes:
            return None
        return self._beyond()

    def _look_ahead(self) -> None:
        limits = self._limits
        warned_rows, warned_bytes = self.rows > limits.warn_rows, self.bytes > limits.warn_bytes
        self._next_rows = limits.max_rows if warned_rows else min(limits.warn_rows, limits.max_rows)
        self._next_bytes = limits.max_bytes if warned_bytes else min(limits.warn_bytes, limits.max_bytes)

    def _beyond(self) -> Ended | None:
        limits = self._limits
        if self.rows > limits.max_rows or self.bytes > limits.max_bytes:
            full = JournalFull(self._name, self.rows, self.bytes, limits.max_rows, limits.max_bytes)
            return Ended(Ending.FAILED, failure=Failure.of(full))
        self._look_ahead()
        log.warning(
            "the journal of run %s of workflow %r has %s rows and %s bytes by now, of %s and %s that it may have, "
            "and each replay reads all of it: let the workflow go on as a new run with continue_as_new(), or give "
            "parts of its work to children",
            *(self._run_id, self._name),
            *(f"{number:,}" for number in (self.rows, self.bytes, limits.max_rows, limits.max_bytes)),
        )
        return None


def _payload(rows: Sequence[Entry] | Sequence[JournalWrite]) -> int:
    size = 0
    for row in rows:
        if row.output is not None:
            size += len(row.output)
        if row.error is not None:
            size += len(row.error)
    return size
