"""What was found to be wrong."""

from __future__ import annotations

import time
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
    """All of them, in the order in which they were found; each sentence once."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._found: dict[tuple[str, UUID | None], Finding] = {}

    def blame(self, check: str, sentence: str, run_id: UUID | None = None) -> None:
        """Notes one."""
        found = Finding(check, sentence, run_id, time.monotonic() - self._began)
        self._found.setdefault((sentence, run_id), found)

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
