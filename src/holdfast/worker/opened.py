"""Journal entries as an instance sees them: opened by the codec, with the time that the database gave them."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from holdfast.core.journal import Entry

if TYPE_CHECKING:
    from datetime import datetime

    from holdfast.core.seal import Seal
    from holdfast.store.writes import JournalWrite


def opened(entry: Entry, seal: Seal) -> Entry:
    """An entry that was read, with its payloads opened."""
    if entry.output is None and entry.error is None:
        return entry
    return dataclasses.replace(
        entry,
        output=None if entry.output is None else seal.open(entry.output),
        error=None if entry.error is None else seal.open(entry.error),
    )


def as_written(row: JournalWrite, at: datetime, seal: Seal) -> Entry:
    """The entry that a replay will read for a row that was written at ``at``."""
    return Entry(
        row.seq,
        row.kind,
        row.key,
        at if row.at is None or row.at < at else row.at,
        row.digest,
        None if row.output is None else seal.open(row.output),
        None if row.error is None else seal.open(row.error),
        row.attempts,
        None if row.after is None else at + row.after,
    )
