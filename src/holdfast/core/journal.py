"""The journal: what a workflow run has seen, in the order in which it saw it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from uuid import UUID


class EntryKind(IntEnum):
    """What a journal row records. The numbers are stored."""

    ACTIVITY = 1
    """The outcome of an activity, key ``charge#1``: the first call of that name in this run."""
    ATTEMPT = 2
    """A failed attempt that will be retried, key ``charge#1@2``. Not an outcome: it delivers nothing.

    Its output is what attempts of this call had said last by then, by a heartbeat.
    """
    TIMER = 3
    """A timer that fired, key ``timer#3``. Its output is ``WOKEN`` where it was made to, before its time."""
    SIGNAL = 4
    """A signal taken from the inbox, key ``signal:upgrade#7``; 7 is its number in the inbox."""
    CANCEL = 5
    """A request to cancel, taken from the inbox, key ``cancel#8``."""
    CHILD = 6
    """The outcome of a child, taken from the inbox, key ``ship#1``: the first call of that workflow in this run.

    Its digest is its number in the inbox, or, if it could not be started, the digest of its input.
    """
    STARTED = 7
    """A child was started in the same commit, key ``ship#1>``; the output is its id. Not an outcome."""
    STATE = 8
    """What the run lets everybody know, key ``state:progress#12``: set when it had seen 12 deliveries. No outcome."""
    UPDATE = 9
    """An update taken from the inbox, key ``update:approve#7``; 7 is its number in the inbox."""
    REPLY = 10
    """The answer to an update, key ``reply#7``. Not an outcome: it delivers nothing."""
    PATCH = 11
    """The run takes the new way of a patch, key ``patch:new-tax``. Not an outcome: it delivers nothing.

    The output is the key of what the new way asks for first, the digest that of its input: if it asks before it waits.
    """
    HANDED = 12
    """An attempt was handed over, key ``ask#1@1>``: it will be completed from outside, by its token. Not an outcome.

    Its ``not_before`` is when its time is over.
    """
    COMPLETED = 13
    """A result from outside, taken from the inbox, key ``from outside:ask#1@1#7``; 7 is its number in the inbox.

    Not an outcome: that is a row of its own, made by the activity's rules.
    """
    FAILED = 14
    """A failure from outside; as ``COMPLETED``."""


WOKEN = '{"woken":true}'


@dataclass(frozen=True, slots=True)
class Entry:
    """One journal row. ``output`` and ``error`` are JSON text, already decoded by the codec."""

    seq: int
    kind: EntryKind
    key: str
    at: datetime
    digest: bytes | None = None
    output: str | None = None
    error: str | None = None
    attempts: int = 0
    not_before: datetime | None = None
    """Of an attempt: when its back-off ends."""


def signal_key(name: str, number: int) -> str:
    """The key under which signal ``name`` with that number in the inbox is journaled."""
    return f"signal:{name}#{number}"


def update_key(name: str, number: int) -> str:
    """The key under which update ``name`` with that number in the inbox is journaled."""
    return f"update:{name}#{number}"


def reply_key(number: int) -> str:
    """The key under which the answer to the update with that number in the inbox is journaled."""
    return f"reply#{number}"


def line_of(key: str) -> str:
    """In which line a signal or update stands that was journaled under ``key``: ``signal:upgrade``."""
    return key.rpartition("#")[0]


def cancel_key(number: int) -> str:
    """The key under which a request to cancel with that number in the inbox is journaled."""
    return f"cancel#{number}"


def state_key(name: str, place: int) -> str:
    """The key under which it is journaled that the state ``name`` was set at that place."""
    return f"state:{name}#{place}"


def state_name(key: str) -> tuple[str, int]:
    """The name of the state that was journaled under ``key``, and the place at which it was set."""
    name, _, place = key.removeprefix("state:").rpartition("#")
    return name, int(place)


def patch_key(name: str) -> str:
    """The key under which it is journaled that a run takes the new way of the patch ``name``."""
    return f"patch:{name}"


def patch_name(key: str) -> str:
    """The name of the patch that was journaled under ``key``."""
    return key.removeprefix("patch:")


def started_key(key: str) -> str:
    """The key under which the start of the child whose outcome will have ``key`` is journaled."""
    return f"{key}>"


def child_id(entry: Entry) -> UUID:
    """The child whose start was journaled."""
    return UUID(json.loads(entry.output or ""))


def letter_digest(number: int) -> bytes:
    """What stands in place of a digest in the row of a child's outcome: its number in the inbox."""
    return number.to_bytes(4)


def letter_number(entry: Entry) -> int:
    """The number in the inbox of what was journaled; 0 for what has not come from there."""
    if entry.kind is EntryKind.CHILD:
        # One that could not be started has the digest of its input, which is longer.
        return int.from_bytes(entry.digest) if entry.digest is not None and len(entry.digest) == 4 else 0
    return int(entry.key.rpartition("#")[2])


def handed_key(key: str, attempt: int) -> str:
    """The key under which it is journaled that this attempt at the step ``key`` was handed over."""
    return f"{key}@{attempt}>"


def completion_key(name: str, number: int) -> str:
    """The key of what came from outside for the attempt ``name`` (``ask#1@1``), with that number in the inbox."""
    return f"{_OUTSIDE}{name}#{number}"


def handed_attempt(key: str) -> tuple[str, int]:
    """The step and the attempt that a row of kind HANDED, COMPLETED or FAILED is about."""
    name = key.removeprefix(_OUTSIDE).rpartition("#")[0] if key.startswith(_OUTSIDE) else key[:-1]
    step, _, attempt = name.rpartition("@")
    return step, int(attempt)


_OUTSIDE = "from outside:"


def attempt_key(key: str, attempt: int) -> str:
    """The key under which the failed attempt ``attempt`` (from 1) of the step ``key`` is journaled."""
    return f"{key}@{attempt}"
