"""Starting runs: one statement for any number of them, inside whatever transaction the connection is in."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

if TYPE_CHECKING:
    from holdfast.store.session import Session


class Manner(NamedTuple):
    """What many starts have in common. ``due`` and ``after`` are given one at most."""

    kind: int
    name: str
    lane: str
    priority: int
    due: datetime | None
    after: timedelta | None
    timeout: timedelta | None
    tags: str | None


class KeyTerms(NamedTuple):
    """For how long a key is its run's: so long from now, or for ever, or while it is open; and what if it is taken."""

    window: timedelta | None
    while_open: bool
    taken: int
    """0: the start is answered with that run; 1: it is refused; 2: that run is replaced."""


FOREVER = KeyTerms(None, while_open=False, taken=0)


class Start(NamedTuple):
    """One run to be. ``input`` is as it is to be stored."""

    id: UUID
    input: str
    manner: Manner
    key: str | None
    digest: bytes | None
    options: str | None = None
    """JSON text."""
    terms: KeyTerms = FOREVER
    """Of the key."""


class Started(NamedTuple):
    """What became of one start: the run that it made or found, and whether that has the same input."""

    id: UUID
    existing: bool
    same: bool
    refused: bool = False
    """Whether it wants nothing if its key is taken, which it is, by that run."""


async def start_plain(session: Session, starts: Sequence[Start], *, hint: bool) -> list[Started]:
    """Makes runs without keys; those that are there already stay as they are."""
    if len(starts) == 1:
        start = starts[0]
        await session.fetch(
            "start_one",
            id=start.id,
            input=start.input,
            options=start.options,
            hint=f"due {start.manner.lane}" if hint else None,
            **start.manner._asdict(),
        )
        return [Started(start.id, existing=False, same=True)]
    # Each manner travels once: starts come by the thousand, and mostly have all but their inputs in common.
    places: dict[Manner, int] = {}
    manners = [places.setdefault(start.manner, len(places) + 1) for start in starts]
    lanes = {manner.lane for manner in places}
    await session.fetch(
        "start_plain",
        ids=[start.id for start in starts],
        inputs=[start.input for start in starts],
        manners=manners,
        options=_options(starts),
        hints=[f"due {lane}" for lane in lanes] if hint else [],
        **_columns(list(places)),
    )
    return [Started(start.id, existing=False, same=True) for start in starts]


async def start_keyed(session: Session, starts: Sequence[Start], *, hint: bool) -> list[Started]:
    """Makes runs, or finds those that their keys belong to; answers in the order of ``starts``."""
    rows = await session.fetch(
        "start_keyed",
        ids=[start.id for start in starts],
        inputs=[start.input for start in starts],
        keys=[start.key for start in starts],
        digests=[start.digest for start in starts],
        options=_options(starts),
        hint=hint,
        **_terms(starts),
        **_columns([start.manner for start in starts]),
    )
    return [Started(*row) for row in rows]


def _options(starts: Sequence[Start]) -> Sequence[str | None]:
    # Few starts have any: a column of nulls alone is sent as an empty array, which ``unnest`` fills up.
    return () if all(start.options is None for start in starts) else [start.options for start in starts]


def _terms(starts: Sequence[Start]) -> dict[str, Sequence[object]]:
    names = ("windows", "open", "taken")
    if all(start.terms is FOREVER for start in starts):
        return dict.fromkeys(names, ())
    return dict(zip(names, zip(*(start.terms for start in starts), strict=True), strict=True))


def _columns(manners: Sequence[Manner]) -> dict[str, Sequence[object]]:
    columns = list(zip(*manners, strict=True))
    return dict(
        zip(("kinds", "names", "lanes", "priorities", "due", "after", "timeouts", "tags"), columns, strict=True)
    )
