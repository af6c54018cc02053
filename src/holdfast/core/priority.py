"""The five priorities of a lane, and how many runs of each a worker executes at once."""

from __future__ import annotations

from enum import IntEnum
from typing import Literal

PriorityName = Literal["very-low", "low", "medium", "high", "critical"]


class Priority(IntEnum):
    """One of five classes inside a lane. The numbers are stored."""

    VERY_LOW = 1
    LOW = 2
    MEDIUM = 3
    HIGH = 4
    CRITICAL = 5

    @property
    def word(self) -> PriorityName:
        """The name that people write: ``very-low``."""
        return _WORDS[self]

    @property
    def base_capacity(self) -> int:
        """How many runs of this priority one bucket executes at once, at a parallelism factor of 1."""
        return _BASE_CAPACITY[self]

    @classmethod
    def of(cls, word: str) -> Priority:
        """The priority with that name; a ValueError lists the names."""
        for priority, name in _WORDS.items():
            if name == word:
                return priority
        raise ValueError(f"priority {word!r} is not one of {', '.join(_WORDS.values())}")


_WORDS: dict[Priority, PriorityName] = {
    Priority.VERY_LOW: "very-low",
    Priority.LOW: "low",
    Priority.MEDIUM: "medium",
    Priority.HIGH: "high",
    Priority.CRITICAL: "critical",
}
_BASE_CAPACITY = {
    Priority.VERY_LOW: 2,
    Priority.LOW: 3,
    Priority.MEDIUM: 4,
    Priority.HIGH: 5,
    Priority.CRITICAL: 6,
}
