"""A file to which activities write what they do; appended to in one write each, so that a kill loses no line."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

PLACE = "HOLDFAST_TEST_LEDGER"
"""The environment variable that names the file for worker processes."""


def note(*words: object, place: Path | None = None) -> None:
    """Appends one line."""
    line = " ".join(str(word) for word in words) + "\n"
    file = os.open(os.environ[PLACE] if place is None else place, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(file, line.encode())
    finally:
        os.close(file)


class Ledger:
    """What has been written so far."""

    def __init__(self, place: Path) -> None:
        self.place = place

    @property
    def env(self) -> dict[str, str]:
        """What a worker process needs in its environment."""
        return {PLACE: str(self.place)}

    def lines(self) -> list[str]:
        """Every line, in the order in which they were written."""
        return self.place.read_text(encoding="utf-8").splitlines() if self.place.exists() else []

    def counts(self) -> Counter[str]:
        """How often each line was written."""
        return Counter(self.lines())
