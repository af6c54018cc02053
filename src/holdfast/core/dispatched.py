"""What the run of a dispatched activity says of the call that it is: kept in the options of the run."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any
from uuid import UUID

from holdfast.core.remake import type_name
from holdfast.core.retry import Retry

_FIELD = '{"dispatched":'


@dataclass(frozen=True, slots=True, kw_only=True)
class Dispatched:
    """The call of an activity, for the worker that executes it: to its code it is as if its workflow ran there."""

    key: str
    """Of its outcome, in the journal of the run that has asked: ``render#1``."""
    workflow: str
    """The name of the workflow that has asked."""
    identity: UUID | None = None
    """What that run's activities are told it is, where that is another one: see :mod:`holdfast.core.lineage`."""
    failed: int = 0
    """Attempts that have failed before it was dispatched."""
    details: str | None = None
    """What they said last by a heartbeat, as it is stored."""
    options: CallOptions | None = None
    """Where this call has other options than the activity."""

    def to_json(self) -> str:
        """The options of its run."""
        fields: dict[str, object] = {"key": self.key, "workflow": self.workflow}
        if self.identity is not None:
            fields["identity"] = str(self.identity)
        if self.failed:
            fields["failed"] = self.failed
        if self.details is not None:
            fields["details"] = self.details
        if self.options is not None:
            fields["options"] = self.options.to_fields()
        return f"{_FIELD}{json.dumps(fields, ensure_ascii=False, separators=(',', ':'))}}}"

    @classmethod
    def read(cls, options: str | None) -> Dispatched | None:
        """What the options of a run say; None if it is not a dispatched activity."""
        if options is None or not options.startswith(_FIELD):
            return None
        fields: dict[str, Any] = json.loads(options)["dispatched"]
        identity, given = fields.get("identity"), fields.get("options")
        return cls(
            key=fields["key"],
            workflow=fields["workflow"],
            identity=None if identity is None else UUID(identity),
            failed=fields.get("failed", 0),
            details=fields.get("details"),
            options=None if given is None else CallOptions.of_fields(given),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CallOptions:
    """What ``options()`` has set for one call of an activity, and the worker that executes it is to know."""

    retry: Retry
    retry_on: tuple[str, ...] = ()
    give_up_on: tuple[str, ...] = ()
    """The exception classes of the policy, by their names: their code may not be loaded where this is read."""
    timeout: timedelta | None
    heartbeat_timeout: timedelta | None

    @classmethod
    def of(cls, retry: Retry, timeout: timedelta | None, heartbeat_timeout: timedelta | None) -> CallOptions:
        """These options."""
        return cls(
            retry=retry,
            retry_on=tuple(map(type_name, retry.retry_on)),
            give_up_on=tuple(map(type_name, retry.give_up_on)),
            timeout=timeout,
            heartbeat_timeout=heartbeat_timeout,
        )

    def policy(self, error: BaseException) -> Retry:
        """The retry policy, as far as it is about this error: with the classes that have the names it was given."""
        kinds = [kind for kind in type(error).__mro__ if issubclass(kind, Exception)]
        return replace(
            self.retry,
            retry_on=tuple(kind for kind in kinds if type_name(kind) in self.retry_on),
            give_up_on=tuple(kind for kind in kinds if type_name(kind) in self.give_up_on),
        )

    def to_fields(self) -> dict[str, object]:
        """As JSON."""
        retry = self.retry
        return {
            "max_attempts": retry.max_attempts,
            "initial": retry.initial.total_seconds(),
            "factor": retry.factor,
            "maximum": retry.maximum.total_seconds(),
            "jitter": retry.jitter,
            "retry_on": list(self.retry_on),
            "give_up_on": list(self.give_up_on),
            "timeout": _seconds(self.timeout),
            "heartbeat_timeout": _seconds(self.heartbeat_timeout),
        }

    @classmethod
    def of_fields(cls, fields: dict[str, Any]) -> CallOptions:
        """What ``to_fields`` gave."""
        return cls(
            retry=Retry(
                max_attempts=fields["max_attempts"],
                initial=timedelta(seconds=fields["initial"]),
                factor=fields["factor"],
                maximum=timedelta(seconds=fields["maximum"]),
                jitter=fields["jitter"],
            ),
            retry_on=tuple(fields["retry_on"]),
            give_up_on=tuple(fields["give_up_on"]),
            timeout=_span(fields["timeout"]),
            heartbeat_timeout=_span(fields["heartbeat_timeout"]),
        )


def _seconds(span: timedelta | None) -> float | None:
    return None if span is None else span.total_seconds()


def _span(seconds: float | None) -> timedelta | None:
    return None if seconds is None else timedelta(seconds=seconds)
