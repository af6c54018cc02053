"""The permits that this worker has leased: for the runs of which names, how many, and what of them is to go back."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING
from uuid import UUID

from holdfast.store.blocks import Bid

if TYPE_CHECKING:
    from holdfast.core.limit import Ticket
    from holdfast.store.blocks import Left
    from holdfast.store.work import Claimed

_WORTH = 50
"""A lease of which fewer are free, and fewer than there is room for, is not worth it."""
_AGAIN = 0.5
_LONGEST_PAUSE = 30.0


class Leases:
    """What this worker knows of its blocks; the rows in the database are never smaller.

    A name is claimed by its lease as long as that gives what the worker can take; when it does not, and no more can
    be had, by single permits. A block that is ``owed`` goes back as its runs end.
    """

    def __init__(self, tickets: Mapping[str, Sequence[Ticket]], held: Collection[UUID]) -> None:
        self.tickets = tickets
        """By the names of tasks that can be leased for: jobs all of whose limits are in all."""
        self._held = held
        self._sizes: dict[str, int] = {}
        self._owed: dict[str, int] = {}
        self._untold: set[str] = set()
        """Owed, and the database has not heard of it."""
        self._runs: dict[str, set[UUID]] = {name: set() for name in tickets}
        self._generations = dict.fromkeys(tickets, 0)
        self._short: set[str] = set()
        """Those of which a claim could have taken more than was leased."""
        self._again_at: dict[str, float] = {}
        self._pauses: dict[str, float] = {}

    def used(self, name: str) -> int:
        """How many runs are held that were claimed by this lease."""
        runs = self._runs[name]
        runs.intersection_update(self._held)
        return len(runs)

    def bids(self, names: Iterable[str], room: int, now: float) -> list[Bid]:
        """What to lease before a claim that may bring as many as there is room for of any of these names."""
        found: list[Bid] = []
        for name in names:
            if name not in self.tickets:
                continue
            # Counted here, once for a claim, since what is held may be much.
            used, size = self.used(name), self._sizes.get(name, 0)
            if name in self._owed or now < self._again_at.get(name, 0.0):
                continue
            if size < used + room:
                least = size + 1 if name in self._short else used + min(room, _WORTH)
                found.append(Bid(name, least, max(used + room, least), self._generations[name]))
        return found

    def leased(self, sizes: Mapping[str, int | None], now: float) -> None:
        """This is what the blocks are now; None: there was not as much to be had."""
        for name, size in sizes.items():
            if size is not None and size > self._sizes.get(name, 0):
                self._sizes[name] = size
                self._pauses.pop(name, None)
                self._short.discard(name)
                continue
            if size is None:
                self.withdraw([name])
                self._short.discard(name)
            pause = self._pauses[name] = min(2 * self._pauses.get(name, _AGAIN / 2), _LONGEST_PAUSE)
            self._again_at[name] = now + pause

    def generations(self, names: Iterable[str], room: int) -> dict[str, int]:
        """Those of these names that can be claimed by their lease, each with its generation; after ``bids``."""
        worth = min(room, _WORTH)
        return {
            name: self._generations[name]
            for name in names
            if name in self._sizes and self._sizes[name] >= len(self._runs[name]) + worth
        }

    def free(self, names: Iterable[str]) -> int:
        """So many runs can be claimed by their leases, whichever of these names they have; after ``bids``."""
        return min((self._sizes[name] - len(self._runs[name]) for name in names), default=0)

    def was_short(self, names: Iterable[str]) -> None:
        """More of these could have been claimed than were free."""
        self._short.update(names)
        for name in names:
            self._again_at.pop(name, None)

    def took(self, runs: Iterable[Claimed]) -> None:
        """These were claimed by their leases, and are held."""
        for run in runs:
            self._runs[run.task_name].add(run.run_id)

    def withdraw(self, names: Iterable[str] | None = None) -> None:
        """Claims nothing by these leases any more; None: by none."""
        for name in list(self._sizes) if names is None else names:
            if name in self._sizes:
                self._owed[name] = self._sizes.pop(name)
                self._untold.add(name)

    def ample(self, room: int) -> list[str]:
        """Those that are far larger than they need to be."""
        return [name for name, size in self._sizes.items() if size > 4 * (self.used(name) + room)]

    def idle(self) -> list[str]:
        """Those of which something is free."""
        return [name for name, size in self._sizes.items() if size > self.used(name)]

    def due(self) -> list[str]:
        """Those that are owed, of which something has become free."""
        return [name for name, size in self._owed.items() if name in self._untold or self.used(name) < size]

    def giving_back(self, names: Iterable[str]) -> dict[str, int]:
        """What is free of these is about to be given back: under which generations claims come after it."""
        self.withdraw(names)
        for name in names:
            self._generations[name] += 1
        return {name: self._generations[name] for name in names}

    def given_back(self, names: Iterable[str], left: Mapping[str, Left], *, sure: bool) -> None:
        """This is what is left of these. Without being ``sure`` of what is held, nothing more is claimed by them."""
        for name in names:
            self._untold.discard(name)
            rest = left.get(name)
            if rest is None:
                self._owed.pop(name, None)
            elif rest.wanted or not sure:
                self._owed[name] = rest.size
            else:
                self._owed.pop(name, None)
                self._sizes[name] = rest.size
