"""Which way a run takes where its code has changed: one answer for each patch, for as long as the run lasts.

A run that comes to a patch live takes the new way, and a row of its journal says so. A run that has been there before,
under code that had no such patch, has no such row, and goes on as it went. Nothing that lies on the new way begins
before the row is durable: so whoever goes on with the run, after whatever crash, takes the way that was gone.

The row says, too, what the new way asks for first. Code that is older than the patch knows nothing of it, and could end
a run on the old way that has gone the new one, and begun what lies there: that it does not ask for this tells.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from holdfast.workflow.child import ChildStep
    from holdfast.workflow.handle import Timer
    from holdfast.workflow.step import Step


class NewWay(NamedTuple):
    """A way that a run takes from now on, to be journaled before anything that lies on it begins."""

    patch: str
    output: str | None = None
    """The key of what it asks for first, as JSON text; None if it waited or ended before it asked for anything."""
    digest: bytes | None = None
    """Of the input of that."""


class Patches:
    """The patches of one run."""

    __slots__ = ("_answers", "_fresh", "_recorded", "unrecorded")

    def __init__(self) -> None:
        self._fresh: list[tuple[str, int]] = []  # new ways that the worker has not been told of, and their places
        self.unrecorded: set[str] = set()
        """New ways that are not known to be durable."""
        self._recorded: set[str] = set()
        self._answers: dict[str, bool] = {}

    def record(self, name: str) -> None:
        """A row of the journal says that the run takes the new way."""
        self._recorded.add(name)
        self.unrecorded.discard(name)

    def ask(self, name: str, place: int, *, replaying: bool) -> bool:
        """Whether the run takes the new way.

        Args:
            name: of the patch.
            place: how much the code has asked for before it in this activation.
            replaying: the code does what it has done before.
        """
        answer = self._answers.get(name)
        if answer is None:
            answer = name in self._recorded or not replaying
            if answer and name not in self._recorded:
                self._fresh.append((name, place))
                self.unrecorded.add(name)
            self._answers[name] = answer
        return answer

    def asked(self, name: str) -> bool:
        """What the run was answered, if it has asked."""
        return self._answers.get(name, False)

    def take(self, asked: Sequence[Step | ChildStep | Timer]) -> tuple[NewWay, ...]:
        """The new ways that the worker is to be told of, once; this is what was ``asked`` for in the activation."""
        ways = tuple(_begun(name, asked[place] if place < len(asked) else None) for name, place in self._fresh)
        self._fresh.clear()
        return ways


def _begun(patch: str, first: Step | ChildStep | Timer | None) -> NewWay:
    if first is None:
        return NewWay(patch)
    return NewWay(patch, json.dumps(first.key), getattr(first, "digest", None))
