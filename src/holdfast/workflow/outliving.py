"""Children that a run waits for before it ends, when its code has ended and its result is known."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from holdfast.core.journal import Entry, EntryKind
from holdfast.workflow.child import ChildStep
from holdfast.workflow.step import Step


class Outliving:
    """The children of one run that are still open. A request to cancel it is for them: of the run nothing is left."""

    __slots__ = ("_children", "_told", "cancelled")

    def __init__(self, steps: Iterable[ChildStep | Step], *, cancelled: bool) -> None:
        self._children = {
            step.key: step.run_id
            for step in steps
            if isinstance(step, ChildStep) and step.told and step.options.on_parent_close == "wait"
        }
        self._told: set[UUID] = set()
        self.cancelled = cancelled

    def __len__(self) -> int:
        return len(self._children)

    @property
    def keys(self) -> list[str]:
        """Under which their outcomes will be journaled."""
        return list(self._children)

    def feed(self, entry: Entry, child: UUID | None) -> None:
        """An entry that was committed since; ``child`` where it is the start of one."""
        match entry.kind:
            case EntryKind.CHILD:
                self._children.pop(entry.key, None)
            case EntryKind.STARTED if entry.key[:-1] in self._children:
                self._children[entry.key[:-1]] = child
            case EntryKind.CANCEL:
                self.cancelled = True
            case _:
                return

    def to_cancel(self) -> list[UUID]:
        """Those that are to be cancelled now, each once."""
        if not self.cancelled:
            return []
        asked = [child for child in self._children.values() if child is not None and child not in self._told]
        self._told.update(asked)
        return asked
