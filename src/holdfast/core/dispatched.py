"""What the run of a dispatched activity says of the call that it is: kept in the options of the run."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from holdfast.core.call_options import CallOptions

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
