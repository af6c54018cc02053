"""Activities that found no room where their workflows are, and for whose kind this worker has a place.

Of the others it takes none, so that they do not wait here for a place that they would have elsewhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from holdfast.workflow.activity import Activity

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from holdfast.core.definition import Definition
    from holdfast.worker.executor import Executor


class Guests:
    """Which activities are welcome here now."""

    def __init__(self, definitions: Mapping[str, Definition[..., Any]], executor: Executor) -> None:
        self._activities = {name: one for name, one in definitions.items() if isinstance(one, Activity)}
        self._executor = executor

    def __bool__(self) -> bool:
        """Whether there are activities at all."""
        return bool(self._activities)

    def names(self) -> Sequence[str] | None:
        """The names of those for which there is a place; None: of all.

        Where it is not all, the executor says so when a place is free.
        """
        executor = self._executor
        crowded = [one for one in self._activities.values() if not executor.has_place(one)]
        if not crowded:
            return None
        for one in crowded:
            executor.await_place(one)
        names = {one.name for one in crowded}
        return [name for name in self._activities if name not in names]
