"""Runs as values that can be written to files, and replayed anywhere."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast
from uuid import UUID

from pydantic_core import from_json

from holdfast.core.export import ExportedResult, RunExport
from holdfast.core.priority import Priority
from holdfast.store.exports import Exported, Sampled, read_exported, sample_ended, sample_open
from holdfast.store.work import read_journals

if TYPE_CHECKING:
    from holdfast.client.context import Context
    from holdfast.core.journal import Entry
    from holdfast.core.seal import Seal
    from holdfast.store.session import Session

_TOGETHER = 20
"""So many runs are read in one transaction."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Some runs, spread over the workflows, and how many there are of each: by ``name``, or ``name@version``."""

    runs: Sequence[RunExport]
    counts: Mapping[str, int]


async def export_runs(context: Context, runs: Sequence[UUID]) -> list[RunExport]:
    """Those of these runs that exist, each as it is in one moment.

    Raises:
        Unreadable: a payload was written with a codec that is not configured here.
    """
    found: list[RunExport] = []
    for first in range(0, len(runs), _TOGETHER):
        some = runs[first : first + _TOGETHER]

        async def read(session: Session, some: Sequence[UUID] = some) -> tuple[list[Exported], dict[UUID, list[Entry]]]:
            async with session.connection.transaction(isolation="repeatable_read", readonly=True):
                return await read_exported(session, some), await read_journals(session, list(some))

        rows, journals = await context.database.call(read)
        found += [_export(row, journals.get(row.id, ()), context.seal) for row in rows]
    return found


async def sample_runs(context: Context, count: int, *, names: Sequence[str] | None, open_: bool, ended: bool) -> Sample:
    """At most ``count`` runs; half of them ended ones where both are asked for."""

    async def choose(session: Session) -> tuple[list[Sampled], list[Sampled]]:
        first: list[Sampled] = []
        second: list[Sampled] = []
        if open_:
            first = await sample_open(session, names=names, count=count - count // 2 if ended else count)
        if ended:
            second = await sample_ended(session, names=names, count=count - len(first))
        return first, second

    chosen = await context.database.call(choose)
    counts: Counter[str] = Counter()
    for part in chosen:
        counts.update({one.task_name: one.runs for one in part})
    # Who ended between the two looks may be in both.
    runs = list(dict.fromkeys(one.id for part in chosen for one in part))
    return Sample(runs=await export_runs(context, runs), counts=counts)


def _export(row: Exported, journal: Sequence[Entry], seal: Seal) -> RunExport:
    return RunExport(
        run_id=row.id,
        kind=row.kind,
        name=row.name,
        version=row.version,
        lane=row.lane,
        priority=Priority(row.priority).word,
        input=seal.open(row.input or "{}"),
        tags=cast("dict[str, str]", from_json(row.tags)) if row.tags else {},
        options=row.options,
        parent=row.parent,
        root=row.root,
        created_at=row.created_at,
        first_claim_at=row.first_claim_at,
        entered=row.entered,
        journal=tuple(
            replace(entry, output=_opened(entry.output, seal), error=_opened(entry.error, seal)) for entry in journal
        ),
        result=None
        if row.ending is None or row.ended_at is None
        else ExportedResult(
            ending=row.ending,
            at=row.ended_at,
            output=_opened(row.output, seal),
            error=_opened(row.error, seal),
        ),
    )


def _opened(stored: str | None, seal: Seal) -> str | None:
    return None if stored is None else seal.open(stored)
