"""The census: which schedules the code of live workers has, and what the database has of them.

While two versions of the code run side by side, the newer one counts: the one whose terms were first seen later. A
worker with older code that starts again does not bring its terms back as long as a worker with the newer ones lives;
when none does any more, as after a deploy was taken back, they count again. A schedule that no live worker has in its
code becomes inactive.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from holdfast.store import schedules as store

if TYPE_CHECKING:
    from holdfast.store.session import Session

log = logging.getLogger("holdfast.schedules")

_PATIENCE = timedelta(minutes=1)
"""So long after a worker has said what its code has, it may need to register."""
_AWAY = timedelta(minutes=5)
"""One that was taken out of the code for so long begins anew when it comes back: what it has missed is forgotten."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeSchedule:
    """A schedule in this code, and the digest of its terms."""

    spec: store.Spec
    digest: str


class Census:
    """Says what this code has, and looks for what no code has any more."""

    def __init__(self, schedules: Mapping[str, CodeSchedule]) -> None:
        self._schedules = dict(schedules)
        self._warned: set[str] = set()

    @property
    def digests(self) -> dict[str, str]:
        """The name of each, and its digest."""
        return {name: one.digest for name, one in self._schedules.items()}

    async def take(self, session: Session) -> None:
        """One look; what has to be written is written."""
        if self._schedules:
            for found in await store.read_carried(session, list(self._schedules), away=_AWAY):
                await self._settle(session, self._schedules[found.name], found)
        for name in await store.retire(session, patience=_PATIENCE):
            log.info("schedule %r is inactive: no live worker has it in its code", name)

    async def _settle(self, session: Session, mine: CodeSchedule, found: store.Carried) -> None:
        spec = mine.spec
        first = spec.span.after(spec.cadence, found.now)
        if found.id is None:
            # Where another worker is quicker, there is nothing more to do.
            made = await store.insert(
                session, found.name, spec, origin="code", digest=mine.digest, paused=False, next_at=first
            )
            if made is not None:
                log.info("schedule %r is there, from the code", found.name)
            return
        if found.origin != "code":
            self._warn(found.name)
            return
        if found.spec == mine.digest and found.active:
            return
        if found.spec != mine.digest and found.carried and mine.digest in found.earlier_specs:
            # This is the older code.
            return
        afresh = found.away or (spec.cadence, spec.span) != (found.cadence, found.span)
        changed = await store.update(
            session,
            found.id,
            spec,
            revision=found.revision,
            digest=mine.digest,
            next_at=first if afresh else found.next_at,
            afresh=afresh,
        )
        if changed:
            log.info("schedule %r is now as this code says", found.name)

    def _warn(self, name: str) -> None:
        if name not in self._warned:
            self._warned.add(name)
            log.warning(
                "schedule %r in the code is not used: a client has made one of that name; delete that one, "
                "or give this one another name",
                name,
            )
