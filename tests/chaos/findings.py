"""What was found to be wrong."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from uuid import UUID


class Finding(NamedTuple):
    """Something that may not be."""

    check: str
    """What has found it."""
    sentence: str
    run_id: UUID | None
    after: float
    """Seconds after the beginning."""


class Findings:
    """All of them, in the order in which they were found; of each check and run the first. ``said`` is told of each."""

    def __init__(self, said: Callable[[str], None] = lambda _: None) -> None:
        self._said = said
        self._began = time.monotonic()
        self._found: dict[tuple[str, str | UUID], Finding] = {}
        self.looked = Counter[str]()
        """How often each check was made: of what the tables say each time, else for each thing that it is made of."""

    def begin(self) -> None:
        """The load begins now."""
        self._began = time.monotonic()

    @property
    def age(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self._began

    def blame(self, check: str, sentence: str, run_id: UUID | None = None) -> None:
        """Notes one."""
        found = Finding(check, sentence, run_id, self.age)
        place = (check, sentence if run_id is None else run_id)
        if place not in self._found:
            self._found[place] = found
            self._said(f"{found.after:5.0f} s: WRONG: {check}: {run_id or ''} {sentence}")

    def __len__(self) -> int:
        return len(self._found)

    @property
    def all(self) -> list[Finding]:
        """Every one."""
        return list(self._found.values())

    @property
    def suspects(self) -> list[UUID]:
        """The runs at fault, each once."""
        return list(dict.fromkeys(one.run_id for one in self.all if one.run_id is not None))
