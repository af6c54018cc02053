"""Who a run is to its own code, where it goes on from what another run has recorded.

Code may have given out the id of its run, drawn random numbers that begin with it, or asked when it was made. What was
recorded then must be asked for again in the same words. So a run that keeps rows of another one's journal is that other
run to its code until the last of them is delivered: a rewind and a fork are themselves from there on, because what
follows is done once more; a retry stays the run that it retries, because it is the same work.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any, NamedTuple, cast
from uuid import UUID


class Lineage(NamedTuple):
    """``earlier`` are the runs that it is until the entry with that seq is delivered, in order; then ``identity``."""

    earlier: tuple[tuple[UUID, int], ...]
    identity: UUID
    created_at: datetime

    def retried(self) -> dict[str, object]:
        """What the options of a retry say."""
        return self._written(self.earlier, self.identity)

    def branched(self, last: int | None) -> dict[str, object]:
        """What the options of a rewind or fork say that keeps the entries up to ``last``; None: it keeps none."""
        if last is None:
            return {}
        kept: list[tuple[UUID, int]] = []
        for run_id, until in (*self.earlier, (self.identity, last)):
            kept.append((run_id, min(until, last)))
            if until >= last:
                break
        return self._written(tuple(kept), None)

    def _written(self, earlier: tuple[tuple[UUID, int], ...], identity: UUID | None) -> dict[str, object]:
        return {
            "earlier": [[str(run_id), until] for run_id, until in earlier],
            "identity": None if identity is None else str(identity),
            "created_at": self.created_at.isoformat(),
        }


def lineage_of(options: str | None, run_id: UUID, created_at: datetime) -> Lineage:
    """The lineage of a run, from its options as they are stored."""
    lineage = _field(options, "lineage")
    if not lineage:
        return Lineage((), run_id, created_at)
    identity = lineage["identity"]
    return Lineage(
        tuple((UUID(one), int(until)) for one, until in lineage["earlier"]),
        run_id if identity is None else UUID(identity),
        datetime.fromisoformat(lineage["created_at"]),
    )


def first_tags(options: str | None, tags: str | None) -> dict[str, str]:
    """The tags that a run was started with, whatever they were changed to since: what its code sees."""
    first = _field(options, "tags")
    if first is not None:
        return cast("dict[str, str]", first)
    return json.loads(tags) if tags else {}


def _field(options: str | None, name: str) -> dict[str, Any] | None:
    return None if options is None else cast("dict[str, dict[str, Any]]", json.loads(options)).get(name)
