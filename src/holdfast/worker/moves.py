"""How a held run is given back: parked, blocked, or as it was."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from holdfast.core.states import Flag
from holdfast.store.work import FOREVER
from holdfast.store.writes import NEVER_BEGUN, Move
from holdfast.worker.alarms import FOREVER_AWARE

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from holdfast.workflow.instance import Instance

BLOCKED_FOR = timedelta(minutes=5)
"""How long a blocked run rests before it is tried again; a worker that starts with its name tries it at once."""


_MOST = (1 << 31) - 1


def parked(instance: Instance, due: datetime | None, *, seen: int, blocked: int, outside: Sequence[str]) -> Move:
    """It waits until ``due``; for None, not at all; and for letters.

    ``blocked`` is that flag, where it was claimed with it; ``outside`` are the keys of what others are to complete.
    """
    settled = instance.settled
    waits = instance.waits_for_letter
    needed = instance.letters_needed if waits and not outside else 1
    return Move(
        due=FOREVER if due == FOREVER_AWARE else due,
        after=None,
        seen=seen,
        waits=waits or bool(outside),
        set=Flag.ENTERED if settled else 0,
        clear=Flag.BEGUN | blocked | (0 if settled else Flag.ENTERED),
        progress=True,
        what=_what(instance.waits_for, outside) if outside else instance.waits_for,
        wake=None if needed == 1 else min(seen + needed, _MOST),
    )


def _what(waits_for: str, outside: Sequence[str]) -> str:
    return "\n".join(outside_line(line) if line in outside else line for line in waits_for.split("\n"))


def outside_line(key: str) -> str:
    """How it is noted that a run waits for the completion of this step from outside."""
    return f"outside:{key}"


def blocked(seen: int) -> Move:
    """Its code does not fit, or it cannot be read here."""
    clear = Flag.BEGUN | Flag.WAKE
    return Move(due=None, after=BLOCKED_FOR, seen=seen, waits=False, set=Flag.BLOCKED, clear=clear, progress=False)


def given_back(seen: int, *, clear: int = Flag.BEGUN, after: timedelta | None = None, untouched: bool = False) -> Move:
    """Its code was not entered: whoever claims it next begins where this one would have, at its time or ``after``."""
    seen = NEVER_BEGUN if untouched else seen
    return Move(due=None, after=after, seen=seen, waits=None, set=0, clear=clear, progress=False)
