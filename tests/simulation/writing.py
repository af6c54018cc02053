"""What holders of runs write, each by a word."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID

from holdfast.core.journal import EntryKind, cancel_key
from holdfast.core.states import Ending, Flag
from holdfast.store.children import Next
from holdfast.store.writes import NEVER_BEGUN, End, Writes
from tests.store.ground import move, step

if TYPE_CHECKING:
    from tests.simulation.model import Run

WORDS = (
    *("step", "take letters", "begin", "obey a wake"),
    *("park", "sleep", "give back", "block"),
    *("succeed", "fail", "obey", "continue"),
)
OF_HOLDERS = ("step", "take letters", "block", "give back")
"""What nobody writes who has given the run back himself: rows go with what moves or ends it."""
_ERROR = '{"type": "builtins:ValueError", "message": "no"}'


def writing(run: Run, hold: int, what: str, new: UUID, now: datetime, *, progress: bool) -> Writes:
    """What is said for this word, by who has this hold; what goes on for it is ``new``."""
    clear = Flag.BEGUN | (Flag.BLOCKED if progress else 0)
    match what:
        case "step":
            return Writes(run.run_id, hold, journal=[step(run.rows + 1)])
        case "take letters":
            rows = [
                step(run.rows + n, _letter_key(kind, number), kind=kind, digest=None, attempts=0)
                for n, (number, kind) in enumerate(run.unseen.items(), 1)
            ]
            return Writes(run.run_id, hold, journal=rows, seen=list(run.unseen))
        case "begin":
            return Writes(run.run_id, hold, begun=True)
        case "obey a wake":
            return Writes(run.run_id, hold, woken=True)
        case "park":
            return Writes(run.run_id, hold, move=move(seen=run.seen, clear=clear, progress=progress))
        case "sleep":
            after = timedelta(seconds=3)
            there = move(due=None, after=after, seen=run.seen, waits=False, clear=clear, progress=progress)
            return Writes(run.run_id, hold, move=there)
        case "give back":
            seen = NEVER_BEGUN if run.first_claim is not None and run.first_claim > now else run.seen
            there = move(due=None, seen=seen, clear=Flag.BEGUN)._replace(waits=None)
            return Writes(run.run_id, hold, move=there)
        case "block":
            after = timedelta(minutes=5)
            there = move(due=None, after=after, seen=run.seen, waits=False, set=Flag.BLOCKED, clear=Flag.BEGUN)
            return Writes(run.run_id, hold, move=there, blocked="its code does not fit")
        case "fail":
            return Writes(run.run_id, hold, end=End(Ending.FAILED, None, _ERROR))
        case "obey":
            return Writes(run.run_id, hold, end=End(Ending.CANCELLED, None, None))
        case "continue":
            return Writes(run.run_id, hold, end=End(Ending.CONTINUED, None, None), next=Next(new, "{}", ""))
        case _:
            return Writes(run.run_id, hold, end=End(Ending.SUCCEEDED, "1", None))


def _letter_key(kind: EntryKind, number: int) -> str:
    return cancel_key(number) if kind is EntryKind.CANCEL else f"signal:go#{number}"
