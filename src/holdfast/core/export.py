"""A run as a file: what was asked, what it has seen and how it ended; enough to replay it anywhere.

The document is JSON, in UTF-8::

    {
      "holdfast": "run",
      "format": 1,
      "run": {"id", "kind", "name", "version", "lane", "priority", "input", "tags", "options", "parent", "root",
              "created_at", "first_claim_at", "entered"},
      "journal": [{"seq", "kind", "key", "at", "digest", "output", "error", "attempts", "not_before"}, ...],
      "result": {"status", "at", "output", "error"} or null
    }

Payloads (``input``, ``output``, ``error``) are JSON values as they were before any codec; numbers keep their digits.
Of an entry, what is null or 0 is left out, so that an ``output`` that is there and null is the value null. Times are
ISO 8601 in UTC, a digest is hexadecimal, ``kind`` and ``status`` are lower-case words. ``entered`` says that the code
has run to the end of the journal. What a reader does not know it passes over; a change that it must not pass over has
another ``format``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar, cast
from uuid import UUID

from holdfast.core.errors import InvalidInput
from holdfast.core.exact_json import read_exactly, write_exactly
from holdfast.core.journal import Entry, EntryKind
from holdfast.core.states import Ending, RunKind

FORMAT = 1

_WORD = "run"

E = TypeVar("E", EntryKind, RunKind, Ending)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportedResult:
    """How the run ended. ``output`` and ``error`` are JSON text."""

    ending: Ending
    at: datetime
    output: str | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunExport:
    """One run with its journal and its result, if it has ended, read in one moment; payloads opened by the codec."""

    run_id: UUID
    kind: RunKind
    name: str
    lane: str
    priority: str
    input: str
    """The arguments, as JSON text by the names of the parameters."""
    created_at: datetime
    version: str | None = None
    """Of the workflow's code that it began with."""
    tags: Mapping[str, str] = field(default_factory=dict[str, str])
    options: str | None = None
    """JSON text: where it goes on from another run, who it is to its own code."""
    parent: UUID | None = None
    root: UUID | None = None
    first_claim_at: datetime | None = None
    entered: bool = False
    """Whether its code has run to the end of the journal, or may have."""
    journal: Sequence[Entry] = ()
    result: ExportedResult | None = None

    def to_json(self) -> str:
        """The document, with a line for each field."""
        return write_exactly(self._document(), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> RunExport:
        """The run in a document.

        Raises:
            InvalidInput: it is none, or of a format that this version of Holdfast does not read.
        """
        try:
            document = read_exactly(text)
        except ValueError as error:
            raise InvalidInput(f"this is not an exported run: it is not JSON ({error})") from error
        if not isinstance(document, dict) or cast("dict[str, object]", document).get("holdfast") != _WORD:
            raise InvalidInput('this is not an exported run: it does not say {"holdfast": "run"}')
        fields = cast("dict[str, Any]", document)
        if fields.get("format") != FORMAT:
            raise InvalidInput(
                f"this run was exported in format {fields.get('format')!r}, and this version of Holdfast reads format "
                f"{FORMAT}: export it again, or use the version that has written it"
            )
        try:
            return cls._from_document(fields)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InvalidInput(f"this exported run is damaged: {type(error).__name__}: {error}") from error

    def _document(self) -> dict[str, object]:
        return {
            "holdfast": _WORD,
            "format": FORMAT,
            "run": {
                "id": str(self.run_id),
                "kind": _word(self.kind),
                "name": self.name,
                "version": self.version,
                "lane": self.lane,
                "priority": self.priority,
                "input": read_exactly(self.input),
                "tags": dict(self.tags),
                "options": _value(self.options),
                "parent": _text(self.parent),
                "root": _text(self.root),
                "created_at": _time(self.created_at),
                "first_claim_at": _time(self.first_claim_at),
                "entered": self.entered,
            },
            "journal": [_entry(entry) for entry in self.journal],
            "result": None if self.result is None else _result(self.result),
        }

    @classmethod
    def _from_document(cls, document: dict[str, Any]) -> RunExport:
        run: dict[str, Any] = document["run"]
        result: dict[str, Any] | None = document["result"]
        return cls(
            run_id=UUID(run["id"]),
            kind=_member(RunKind, run["kind"]),
            name=run["name"],
            version=run["version"],
            lane=run["lane"],
            priority=run["priority"],
            input=write_exactly(run["input"]),
            tags=dict(run["tags"]),
            options=None if run["options"] is None else write_exactly(run["options"]),
            parent=_id(run["parent"]),
            root=_id(run["root"]),
            created_at=datetime.fromisoformat(run["created_at"]),
            first_claim_at=_moment(run["first_claim_at"]),
            entered=bool(run["entered"]),
            journal=tuple(_read_entry(entry) for entry in document["journal"]),
            result=None
            if result is None
            else ExportedResult(
                ending=_member(Ending, result["status"]),
                at=datetime.fromisoformat(result["at"]),
                output=_payload(result, "output"),
                error=_payload(result, "error"),
            ),
        )


def _entry(entry: Entry) -> dict[str, object]:
    fields: dict[str, object] = {
        "seq": entry.seq,
        "kind": _word(entry.kind),
        "key": entry.key,
        "at": _time(entry.at),
    }
    if entry.digest is not None:
        fields["digest"] = entry.digest.hex()
    if entry.output is not None:
        fields["output"] = read_exactly(entry.output)
    if entry.error is not None:
        fields["error"] = read_exactly(entry.error)
    if entry.attempts:
        fields["attempts"] = entry.attempts
    if entry.not_before is not None:
        fields["not_before"] = _time(entry.not_before)
    return fields


def _read_entry(fields: dict[str, Any]) -> Entry:
    digest: str | None = fields.get("digest")
    return Entry(
        int(fields["seq"]),
        _member(EntryKind, fields["kind"]),
        fields["key"],
        datetime.fromisoformat(fields["at"]),
        None if digest is None else bytes.fromhex(digest),
        _payload(fields, "output"),
        _payload(fields, "error"),
        int(fields.get("attempts", 0)),
        _moment(fields.get("not_before")),
    )


def _result(result: ExportedResult) -> dict[str, object]:
    fields: dict[str, object] = {"status": _word(result.ending), "at": _time(result.at)}
    if result.output is not None:
        fields["output"] = read_exactly(result.output)
    if result.error is not None:
        fields["error"] = read_exactly(result.error)
    return fields


def _word(member: EntryKind | RunKind | Ending) -> str:
    return member.name.lower()


def _member(kind: type[E], word: str) -> E:
    return kind[word.upper()]


def _payload(fields: dict[str, Any], name: str) -> str | None:
    return write_exactly(fields[name]) if name in fields else None


def _value(text: str | None) -> object:
    return None if text is None else read_exactly(text)


def _text(value: UUID | None) -> str | None:
    return None if value is None else str(value)


def _id(text: str | None) -> UUID | None:
    return None if text is None else UUID(text)


def _time(at: datetime | None) -> str | None:
    return None if at is None else at.astimezone(UTC).isoformat()


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
