"""Options of one call of an activity that whoever executes it has to be told: kept in the options of its run."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, cast

from holdfast.core.remake import type_name
from holdfast.core.retry import Retry

CALL = "call"
"""Where they stand in the options of a job that was started with some."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallOptions:
    """What was said for one call of an activity: by ``options()``, or when it was started as a job."""

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

    @classmethod
    def of_job(cls, options: str | None) -> CallOptions | None:
        """What a job was started with, from the options of its run as they are stored."""
        fields = call_fields(options)
        return None if fields is None else cls.of_fields(fields)

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


def call_fields(options: str | None) -> dict[str, Any] | None:
    """The fields of what a job was started with; None where that was nothing."""
    # Most runs have no options, and most options nothing of this: those are not parsed.
    if options is None or f'"{CALL}":' not in options:
        return None
    return cast("dict[str, dict[str, Any]]", json.loads(options)).get(CALL)


def _seconds(span: timedelta | None) -> float | None:
    return None if span is None else span.total_seconds()


def _span(seconds: float | None) -> timedelta | None:
    return None if seconds is None else timedelta(seconds=seconds)
