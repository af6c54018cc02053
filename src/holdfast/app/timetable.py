"""The schedules in an app's code, by name."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any, TypedDict

from holdfast.app.registry import Registry
from holdfast.client.terms import Terms, read_terms
from holdfast.core.cadence import read_cadence
from holdfast.core.definition import Definition
from holdfast.core.errors import DefinitionError, InvalidInput
from holdfast.core.priority import PriorityName
from holdfast.core.schedule import CatchUpName, OverlapName


class ScheduleOptions(TypedDict, total=False):
    """What ``app.schedule`` takes beside the times and the name; as ``client.schedules.create``."""

    input: Mapping[str, object] | None
    tick_parameter: str | None
    end: datetime | None
    jitter: timedelta | None
    overlap: OverlapName
    catch_up: CatchUpName
    catch_up_limit: int
    lane: str
    priority: PriorityName
    tags: Mapping[str, str] | None
    timeout: timedelta | None


class Timetable:
    """Schedules of workflows and activities of one registry: one name, one schedule."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._terms: dict[str, Terms] = {}
        self.terms: Mapping[str, Terms] = MappingProxyType(self._terms)
        """All of them, for reading; what is added later is seen here too."""

    def add(
        self,
        wf: object,
        name: str | None,
        when: str | None,
        *,
        every: timedelta | None,
        tz: str | None,
        start: datetime | None,
        options: ScheduleOptions,
    ) -> None:
        """Takes a schedule of that definition in.

        Raises:
            DefinitionError: it is none of this app, the name is taken, or it cannot be started so.
            InvalidSchedule: the times cannot be read, or never come.
        """
        definition = self._own(wf)
        name = definition.name if name is None else name
        if name in self._terms:
            raise DefinitionError(
                f"there is a schedule {name!r} already, of {self._terms[name].target!r}; give this one another name "
                "with name="
            )
        cadence = read_cadence(when, every=every, tz=tz, start=start)
        all_options: dict[str, Any] = {**_DEFAULTS, **options}
        try:
            self._terms[name] = read_terms(
                name, definition, cadence, when or str(cadence), definitions={}, start=start, **all_options
            )
        except InvalidInput as error:
            raise DefinitionError(str(error)) from error

    def include(self, other: Timetable) -> None:
        """Takes all of another app in.

        Raises:
            DefinitionError: a name is taken.
        """
        for name, terms in other.terms.items():
            if name in self._terms:
                raise DefinitionError(f"there is a schedule {name!r} in both apps; give one of them another name")
            self._terms[name] = terms

    def _own(self, wf: object) -> Definition[..., Any]:
        if not isinstance(wf, Definition):
            what = getattr(wf, "__qualname__", wf)
            raise DefinitionError(
                f"{what!r} is neither a workflow nor an activity: write @app.schedule(...) above @app.workflow or "
                "@app.activity"
            )
        definition: Definition[..., Any] = wf  # pyright: ignore[reportUnknownVariableType]
        if self._registry.definitions.get(definition.name) is not definition:
            raise DefinitionError(f"{definition.what} is not of this app: schedule it in the app that it belongs to")
        return definition


_DEFAULTS: Mapping[str, Any] = {
    "input": None,
    "tick_parameter": None,
    "end": None,
    "jitter": None,
    "overlap": "skip",
    "catch_up": "last",
    "catch_up_limit": 100,
    "lane": "default",
    "priority": "medium",
    "tags": None,
    "timeout": None,
}
