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

    __slots__ = ("_name", "_run_id", "bytes", "rows")

    def __init__(self, claimed: Claimed, journal: Sequence[Entry]) -> None:
        self._run_id = claimed.run_id
        self._name = claimed.name
        self.rows = len(journal)
        self.bytes = sum(map(_payload, journal))

    def add(self, rows: Sequence[JournalWrite], limits: JournalLimits) -> Ended | None:
        """Counts rows that are to be written; where they would be too many, how the run ends instead of it.

        Warns once on the way.
        """
        before, bytes_before = self.rows, self.bytes
        self.rows += len(rows)
        self.bytes += sum(map(_payload, rows))
        if self.rows > limits.max_rows or self.bytes > limits.max_bytes:
            full = JournalFull(self._name, self.rows, self.bytes, limits.max_rows, limits.max_bytes)
            return Ended(Ending.FAILED, failure=Failure.of(full))
        if before <= limits.warn_rows < self.rows or bytes_before <= limits.warn_bytes < self.bytes:
            log.warning(
                "the journal of run %s of workflow %r has %s rows and %s bytes by now, of %s and %s that it may have, "
                "and each replay reads all of it: let the workflow go on as a new run with continue_as_new(), or give "
                "parts of its work to children",
                *(self._run_id, self._name),
                *(f"{number:,}" for number in (self.rows, self.bytes, limits.max_rows, limits.max_bytes)),
            )
        return None


def _payload(row: Entry | JournalWrite) -> int:
    return len(row.output or "") + len(row.error or "")
