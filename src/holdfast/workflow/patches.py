"""Which way a run takes where its code has changed: one answer for each patch, for as long as the run lasts.

A run that comes to a patch live takes the new way, and a row of its journal says so. A run that has been there before,
under code that had no such patch, has no such row, and goes on as it went. Nothing that lies on the new way begins
before the row is durable: so whoever goes on with the run, after whatever crash, takes the way that was gone.
"""

from __future__ import annotations


class Patches:
    """The patches of one run."""

    __slots__ = ("_answers", "_recorded", "fresh", "unrecorded")

    def __init__(self) -> None:
        self.fresh: list[str] = []
        """New ways that the worker has not been told of yet."""
        self.unrecorded: set[str] = set()
        """New ways that are not known to be durable."""
        self._recorded: set[str] = set()
        self._answers: dict[str, bool] = {}

    def record(self, name: str) -> None:
        """A row of the journal says that the run takes the new way."""
        self._recorded.add(name)
        self.unrecorded.discard(name)

    def ask(self, name: str, *, replaying: bool) -> bool:
        """Whether the run takes the new way; ``replaying``: its code does what it has done before."""
        answer = self._answers.get(name)
        if answer is None:
            answer = name in self._recorded or not replaying
            if answer and name not in self._recorded:
                self.fresh.append(name)
                self.unrecorded.add(name)
            self._answers[name] = answer
        return answer

    def asked(self, name: str) -> bool:
        """What the run was answered, if it has asked."""
        return self._answers.get(name, False)

    def take(self) -> tuple[str, ...]:
        """The new ways that the worker is to be told of, once."""
        fresh = tuple(self.fresh)
        self.fresh.clear()
        return fresh
