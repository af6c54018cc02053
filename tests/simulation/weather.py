"""What befalls round trips and processes: dealt by the seed, each schedule with other dangers."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum


class Blow(Enum):
    """What may befall one round trip."""

    DIE_BEFORE = "dies before it is sent"
    DIE_AFTER = "dies after it was executed"
    CUT_BEFORE = "is cut off before it is executed"
    CUT_AFTER = "is cut off after it was executed"
    DELAYED = "is on its way for long"
    ANSWER_DELAYED = "has an answer that is on its way for long"
    ANSWER_LOST = "has an answer that never arrives, and nothing says so"
    HELD = "commits late"
    BELATED = "arrives when its worker leaves or is given up"
    LAST_MOMENT = "is all that its process does before the lease is over, and commits after that"


_MOST: Mapping[Blow, float] = {
    Blow.DIE_BEFORE: 0.004,
    Blow.DIE_AFTER: 0.004,
    Blow.CUT_BEFORE: 0.01,
    Blow.CUT_AFTER: 0.02,
    Blow.DELAYED: 0.01,
    Blow.ANSWER_DELAYED: 0.01,
    Blow.ANSWER_LOST: 0.005,
    Blow.HELD: 0.25,
    Blow.BELATED: 0.02,
    Blow.LAST_MOMENT: 0.02,
}
"""The highest share of round trips that each befalls."""

_DEADLY = frozenset({Blow.DIE_BEFORE, Blow.DIE_AFTER})
_ONLY: Mapping[Blow, frozenset[str]] = {
    Blow.BELATED: frozenset({"claim", "claim_limited", "flush"}),
    Blow.LAST_MOMENT: frozenset({"heartbeat"}),
}
"""Some befall these alone."""

_AIMED_AT: tuple[tuple[str, tuple[Blow, ...]], ...] = (
    ("flush", (Blow.DIE_AFTER, Blow.CUT_AFTER, Blow.ANSWER_LOST, Blow.ANSWER_DELAYED, Blow.DELAYED, Blow.BELATED)),
    ("claim", (Blow.CUT_AFTER, Blow.ANSWER_LOST, Blow.DELAYED, Blow.HELD, Blow.BELATED)),
    ("recover", (Blow.HELD, Blow.CUT_AFTER, Blow.DELAYED)),
    ("leave", (Blow.HELD, Blow.CUT_AFTER, Blow.DELAYED)),
    ("heartbeat", (Blow.LAST_MOMENT, Blow.ANSWER_LOST, Blow.DELAYED, Blow.HELD)),
    ("record", (Blow.DELAYED, Blow.CUT_AFTER, Blow.DIE_AFTER, Blow.ANSWER_LOST)),
    ("commit", (Blow.CUT_AFTER, Blow.CUT_BEFORE, Blow.DIE_AFTER, Blow.ANSWER_LOST, Blow.DELAYED)),
    ("settle_messages", (Blow.CUT_AFTER, Blow.ANSWER_LOST, Blow.DELAYED, Blow.HELD)),
    ("take_in_hand", (Blow.CUT_AFTER, Blow.ANSWER_LOST, Blow.DELAYED, Blow.HELD)),
    ("run", (Blow.CUT_AFTER, Blow.ANSWER_LOST, Blow.DELAYED, Blow.HELD)),
    ("start_many", (Blow.CUT_AFTER, Blow.ANSWER_LOST, Blow.DELAYED, Blow.HELD)),
    ("put_signal", (Blow.CUT_AFTER, Blow.ANSWER_LOST, Blow.DELAYED, Blow.HELD)),
)
"""What a schedule may be aimed at: a function, and what befalls it. Of `run` a single start is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fate:
    """Of one round trip: seconds there and back, and how long its commit is put off."""

    there: float
    back: float
    held: float | None = None
    blow: Blow | None = None


class Weather:
    """The dangers of one schedule. When it is ``calm`` nothing happens any more but small delays."""

    def __init__(self, chance: random.Random, *, lease: float, dangers: bool = True) -> None:
        self._chance = chance
        self.lease = lease
        self.calm = not dangers
        self.shares: dict[Blow, float] = {}
        for blow, most in _MOST.items():
            if chance.random() < 0.55:
                self.shares[blow] = most * chance.choice([0.2, 0.5, 1.0])
        self.hints_lost = chance.choice([0.0, 0.0, 0.1, 1.0])
        # One danger that comes often, in most schedules: rare things meet only where one of them is not rare.
        often, place, much = chance.random(), chance.random(), chance.random()
        kind = chance.choice([0, 0, 0, *range(len(_AIMED_AT))])
        function, blows = _AIMED_AT[kind]
        self.aim = (function, blows[int(place * len(blows))]) if often < 0.65 else None
        self._aimed = 0.05 + 0.45 * much * much

    def fate(self, name: str, *, mortal: bool) -> Fate:
        """Of the next round trip of this name; only of a ``mortal`` process may it be the death."""
        chance = self._chance
        there, back = self._short(), self._short()
        blow: Blow | None = None
        # As many draws whatever is dealt, so that two versions of the engine meet with much the same.
        draws = [(kind, chance.random()) for kind in Blow]
        spell = chance.random()
        if not self.calm:
            for kind, draw in draws:
                if draw < self._share(kind, name) and (mortal or kind not in _DEADLY):
                    blow = kind
                    break
        match blow:
            case Blow.DELAYED | Blow.BELATED:
                there = spell * spell * 2.5 * self.lease
            case Blow.ANSWER_DELAYED:
                back = spell * spell * 2.5 * self.lease
            case Blow.HELD:
                return Fate(there=there, back=back, held=spell**3 * 0.6 * self.lease, blow=blow)
            case Blow.LAST_MOMENT:
                return Fate(there=there, back=back, held=0.15 + 0.35 * spell, blow=blow)
            case _:
                pass
        return Fate(there=there, back=back, blow=blow)

    def _share(self, kind: Blow, name: str) -> float:
        if self.aim == (name, kind):
            return self._aimed
        if kind in _ONLY and name not in _ONLY[kind]:
            return 0.0
        return self.shares.get(kind, 0.0)

    def hint(self) -> float | None:
        """Seconds that a hint is on its way; None if it is lost."""
        lost, seconds = self._chance.random(), self._short()
        return None if lost < self.hints_lost and not self.calm else seconds

    def _short(self) -> float:
        kind, much = self._chance.random(), self._chance.random()
        if kind < 0.85:
            return 0.0002 + 0.0008 * much
        if kind < 0.97:
            return 0.001 + 0.02 * much
        return 0.02 + 0.2 * much
