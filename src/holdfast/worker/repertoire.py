"""What a worker can execute: the names under which it claims, and the versions that it pins runs to."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from holdfast.core.definition import Definition
from holdfast.core.states import RunKind
from holdfast.core.version import rank, task_name


@dataclass(frozen=True, slots=True, kw_only=True)
class Repertoire:
    """Names of tasks; and, at the same places, what a task of that name is called from its claim on.

    A workflow with versions is claimed under its plain name as well. A run that nobody has claimed before is then
    pinned to the highest version. One that has begun, and is not pinned, began with code that had no version: it stays
    with that if it is there, and goes on with the lowest version otherwise. Both lists are empty where nothing has a
    version.
    """

    names: Sequence[str]
    fresh: Sequence[str | None] = ()
    begun: Sequence[str | None] = ()
    jobs: Collection[str] = frozenset()
    """Those of the names that are activities."""

    def task_name(self, name: str, version: str | None, *, begun: bool) -> str:
        """What a run of this name and version, if it has one, is executed as."""
        if version is not None:
            return task_name(name, version)
        pins = self.begun if begun else self.fresh
        return (pins[self.names.index(name)] if pins and name in self.names else None) or name

    def only(self, names: Collection[str]) -> Repertoire:
        """What of it has one of these names."""
        places = [place for place, name in enumerate(self.names) if name in names]

        def those(column: Sequence[Any]) -> Sequence[Any]:
            return [column[place] for place in places] if column else column

        return Repertoire(names=those(self.names), fresh=those(self.fresh), begun=those(self.begun))

    @classmethod
    def of(cls, definitions: Mapping[str, Definition[..., Any]]) -> Repertoire:
        """The repertoire of a worker with these definitions, which are given by the names of their tasks."""
        versions: dict[str, list[Definition[..., Any]]] = {}
        for definition in definitions.values():
            versions.setdefault(definition.name, []).append(definition)
        pinned = {
            name: sorted(those, key=lambda one: rank(one.version))
            for name, those in versions.items()
            if any(one.version is not None for one in those)
        }
        names = sorted({*definitions, *pinned})
        jobs = frozenset(name for name, one in definitions.items() if one.kind is RunKind.ACTIVITY)
        if not pinned:
            return cls(names=names, jobs=jobs)
        return cls(
            names=names,
            jobs=jobs,
            fresh=[pinned[name][-1].task_name if name in pinned else None for name in names],
            begun=[pinned[name][0].task_name if name in pinned else None for name in names],
        )
