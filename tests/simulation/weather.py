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
    HELD = "commits late"


_MOST: Mapping[Blow, float] = {
    Blow.DIE_BEFORE: 0.004,
    Blow.DIE_AFTER: 0.004,
    Blow.CUT_BEFORE: 0.01,
    Blow.CUT_AFTER: 0.02,
    Blow.DELAYED: 0.01,
    Blow.ANSWER_DELAYED: 0.01,
    Blow.HELD: 0.25,
}
"""The highest share of round trips that each befalls."""


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
        self._lease = lease
        self.calm = not dangers
        self.shares: dict[Blow, float] = {}
        for blow, most in _MOST.items():
            if chance.random() < 0.55:
                self.shares[blow] = most * chance.choice([0.2, 0.5, 1.0])
        self.hints_lost = chance.choice([0.0, 0.0, 0.1, 1.0])

    def fate(self, *, mortal: bool) -> Fate:
        """Of the next round trip; only of a ``mortal`` process may it be the death."""
        chance = self._chance
        there, back = self._short(), self._short()
        blow: Blow | None = None
        # As many draws whatever is dealt, so that two versions of the engine meet with much the same.
        draws = [(kind, chance.random()) for kind in Blow]
        spell = chance.random()
        if not self.calm:
            for kind, draw in draws:
                if draw < self.shares.get(kind, 0.0) and (mortal or kind not in (Blow.DIE_BEFORE, Blow.DIE_AFTER)):
                    blow = kind
                    break
        match blow:
            case Blow.DELAYED:
                there = spell * spell * 2.5 * self._lease
            case Blow.ANSWER_DELAYED:
                back = spell * spell * 2.5 * self._lease
            case Blow.HELD:
                return Fate(there=there, back=back, held=spell**3 * 0.6 * self._lease, blow=blow)
            case _:
                pass
        return Fate(there=there, back=back, blow=blow)

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
