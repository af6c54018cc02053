"""Keys of starts: how long one belongs to the run that was started with it, and what a further start comes to."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

KeyWindow = timedelta | Literal["forever", "open"]
WhenTaken = Literal["return_existing", "reject", "replace"]

WHEN_TAKEN: dict[WhenTaken, int] = {"return_existing": 0, "reject": 1, "replace": 2}
"""As the database is told."""


@dataclass(frozen=True, slots=True)
class Key:
    """An idempotency key with its terms: ``Key("report:7", window="open", taken="replace")``.

    Args:
        text: The key, 1 to 500 characters; each workflow and activity has keys of its own.
        window: For how long the key belongs to the run that is started with it: for ``"forever"``, while that run is
            ``"open"``, or for a time from its start. Then the next start makes a new run.
        taken: What becomes of this start where the key belongs to a run: it is answered with that run
            (``"return_existing"``; another input is a ``KeyConflict``), it is refused by ``KeyTaken`` (``"reject"``),
            or that run is cancelled and a new one takes its key (``"replace"``).
    """

    text: str
    window: KeyWindow = "forever"
    taken: WhenTaken = "return_existing"

    @classmethod
    def of(cls, key: str | Key) -> Key:
        """The key that was meant: a text alone is one for ever, by which its run is found again."""
        return key if isinstance(key, Key) else cls(key)
