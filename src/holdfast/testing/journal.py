"""A journal as a test reads it, and replays it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from holdfast.core.errors import InvalidInput, RunNotFound, UnknownName
from holdfast.core.failure import Failure
from holdfast.core.journal import Entry
from holdfast.core.priority import Priority
from holdfast.store import work
from holdfast.store.testbed.clock import read_recorded
from holdfast.worker.opened import opened
from holdfast.workflow.info import RunInfo
from holdfast.workflow.instance import Instance
from holdfast.workflow.workflow import Workflow

if TYPE_CHECKING:
    from holdfast.core.definition import Definition
    from holdfast.core.seal import Seal
    from holdfast.store.session import Session

_WIDEST = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Journal:
    """What a run has seen so far, in the order in which it saw it. ``print`` shows a line for each entry."""

    info: RunInfo
    input: str
    """The arguments, as JSON text by the names of the parameters."""
    began: datetime
    """When it was first claimed."""
    entries: tuple[Entry, ...]

    @property
    def keys(self) -> list[str]:
        """The keys of its outcomes: ``["charge#1", "timer#1"]``; failed attempts, ``charge#1@2``, among them."""
        return [entry.key for entry in self.entries]

    def __len__(self) -> int:
        return len(self.entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.entries)

    def __getitem__(self, key: str) -> Entry:
        for entry in self.entries:
            if entry.key == key:
                return entry
        raise KeyError(f"{key!r} is not in the journal; it holds {', '.join(self.keys) or 'nothing'}")

    def __str__(self) -> str:
        width = max((len(key) for key in self.keys), default=0)
        lines = [f"{self.info.name} {self.info.run_id} {self.input}"]
        lines += [
            f"{entry.seq:>4}  {entry.key:<{width}}  {entry.at:%Y-%m-%d %H:%M:%S}  {_outcome(entry)}".rstrip()
            for entry in self.entries
        ]
        return "\n".join(lines)


def _outcome(entry: Entry) -> str:
    if entry.error is not None:
        failure = Failure.from_json(entry.error)
        return _short(f"{failure.type.rpartition(':')[2]}: {failure.message}")
    return "" if entry.output is None else _short(entry.output)


def _short(text: str) -> str:
    return text if len(text) <= _WIDEST else f"{text[: _WIDEST - 1]}…"


async def read_journal(session: Session, testbed: Session, seal: Seal, run_id: UUID) -> Journal:
    """The journal of a run.

    Raises:
        RunNotFound: there is no such run.
    """
    recorded = await read_recorded(testbed, run_id)
    if recorded is None:
        raise RunNotFound(run_id)
    entries = (await work.read_journals(session, [run_id])).get(run_id, ())
    return Journal(
        info=RunInfo(
            run_id=run_id,
            name=recorded.name,
            lane=recorded.lane,
            priority=Priority(recorded.priority).word,
            created_at=recorded.created_at,
            tags=json.loads(recorded.tags) if recorded.tags else {},
            parent=recorded.parent,
            root=recorded.root or run_id,
        ),
        input=seal.open(recorded.input or "{}"),
        began=recorded.first_claim_at or recorded.created_at,
        entries=tuple(opened(entry, seal) for entry in entries),
    )


def replay(journal: Journal, definitions: Mapping[str, Definition[..., Any]]) -> None:
    """Executes the code at hand on the journal, and nothing beyond it: no activity is called.

    Raises:
        NonDeterminismError: the code asks for something else than the journal holds; it says both.
        MissingClass: the journal holds an error whose class is not loaded.
        UnknownName: there is no workflow of that name.
        InvalidInput: the run is one of an activity, which has nothing to replay.
    """
    definition = definitions.get(journal.info.name)
    if definition is None:
        known = [name for name, one in definitions.items() if isinstance(one, Workflow)]
        raise UnknownName("workflow", journal.info.name, known)
    if not isinstance(definition, Workflow):
        raise InvalidInput(f"run {journal.info.run_id} is one of {definition.what}: only workflows are replayed")
    instance = Instance(definition, journal.info, journal.input, journal.began, journal.entries)
    try:
        blocked = instance.activate().blocked or instance.left_over
    finally:
        instance.close()
    if blocked is not None:
        raise blocked
