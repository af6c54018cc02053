"""A journal as a test reads it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from holdfast.core.export import RunExport
from holdfast.core.failure import Failure
from holdfast.core.journal import Entry

_WIDEST = 60


@dataclass(frozen=True, slots=True)
class Journal:
    """What a run has seen so far, in the order in which it saw it. ``print`` shows a line for each entry."""

    run: RunExport
    """The run with all that a replay needs: ``journal.run.to_json()`` is what ``holdfast run export`` writes."""

    @classmethod
    def read(cls, file: Path) -> Journal:
        """That of a run which was exported to a file.

        Raises:
            InvalidInput: the file holds no exported run.
        """
        return cls(RunExport.from_json(file.read_bytes()))

    @property
    def keys(self) -> list[str]:
        """The keys of its outcomes: ``["charge#1", "timer#1"]``; failed attempts, ``charge#1@2``, among them."""
        return [entry.key for entry in self]

    def __len__(self) -> int:
        return len(self.run.journal)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.run.journal)

    def __getitem__(self, key: str) -> Entry:
        for entry in self:
            if entry.key == key:
                return entry
        raise KeyError(f"{key!r} is not in the journal; it holds {', '.join(self.keys) or 'nothing'}")

    def __str__(self) -> str:
        width = max((len(key) for key in self.keys), default=0)
        lines = [f"{self.run.name} {self.run.run_id} {self.run.input}"]
        lines += [
            f"{entry.seq:>4}  {entry.key:<{width}}  {entry.at:%Y-%m-%d %H:%M:%S}  {_outcome(entry)}".rstrip()
            for entry in self
        ]
        return "\n".join(lines)


def _outcome(entry: Entry) -> str:
    if entry.error is not None:
        failure = Failure.from_json(entry.error)
        return _short(f"{failure.type.rpartition(':')[2]}: {failure.message}")
    return "" if entry.output is None else _short(entry.output)


def _short(text: str) -> str:
    return text if len(text) <= _WIDEST else f"{text[: _WIDEST - 1]}…"
