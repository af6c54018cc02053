"""What a worker writes when a run starts children, and what it reads when one of them has ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from holdfast.core.errors import ChildCancelled, HoldfastError
from holdfast.core.failure import Failure
from holdfast.core.headers import options_with
from holdfast.core.journal import EntryKind, letter_digest, started_key
from holdfast.core.limit import noted
from holdfast.core.priority import Priority
from holdfast.core.remake import type_name
from holdfast.core.states import Ending, RunKind
from holdfast.store.children import Child

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from holdfast.core.headers import Headers
    from holdfast.store.work import Letter
    from holdfast.store.writes import JournalWrite
    from holdfast.worker.desk import Desk
    from holdfast.workflow.info import RunInfo
    from holdfast.workflow.instance import StartChild

    class MakeRow(Protocol):
        """Makes a row of the run's journal, with the next seq."""

        def __call__(
            self,
            kind: EntryKind,
            key: str,
            *,
            digest: bytes | None = None,
            output: str | None = None,
            error: str | None = None,
        ) -> JournalWrite: ...


_SUCCEEDED = '{"status":1,"output":', ',"error":null}'
_FAILED = '{"status":2,"output":null,"error":', "}"


def start_all(
    starts: Sequence[StartChild], parent: RunInfo, headers: Headers, desk: Desk, row: MakeRow
) -> tuple[list[JournalWrite], list[Child]]:
    """The rows of the parent's journal, and the children that are to be written in one commit with them.

    One whose input cannot be stored is not started: that is its outcome.
    """
    rows: list[JournalWrite] = []
    children: list[Child] = []
    for start in starts:
        try:
            text = desk.seal.close(start.input, what=f"the input of child {start.workflow.name!r}")
        except HoldfastError as refusal:
            error = desk.sealed(Failure.of(refusal))
            rows.append(row(EntryKind.CHILD, start.key, digest=start.digest, error=error))
            continue
        child = _child(parent, headers, start, desk, text)
        children.append(child)
        rows.append(row(EntryKind.STARTED, started_key(start.key), digest=start.digest, output=f'"{child.id}"'))
    return rows, children


def received(letter: Letter, key: str, desk: Desk, row: MakeRow) -> JournalWrite:
    """The row that journals what lay in the inbox."""
    if letter.kind is not EntryKind.CHILD:
        return row(letter.kind, key, digest=letter.digest, output=letter.value, error=letter.failure)
    outcome = _arrived(letter.payload, desk.sealed)
    return row(letter.kind, key, digest=letter_digest(letter.number), output=outcome.output, error=outcome.error)


class _Arrived(NamedTuple):
    """The outcome of a child, as it is stored."""

    output: str | None
    error: str | None


def _child(parent: RunInfo, headers: Headers, command: StartChild, desk: Desk, input_text: str) -> Child:
    """The run that the command asks for; what it does not say is as in its parent."""
    asked = command.options
    close = asked.on_parent_close
    options = options_with(None if close == "cancel" else f'{{"on_parent_close":"{close}"}}', headers)
    return Child(
        id=desk.ids.next(),
        kind=RunKind.WORKFLOW,
        name=command.workflow.name,
        lane=asked.lane or parent.lane,
        priority=asked.priority or Priority.of(parent.priority),
        input=input_text,
        timeout=asked.timeout,
        tags=asked.tags,
        options=noted(options, command.workflow, command.input, desk.seal),
        key=command.key,
        root=parent.root,
    )


def _arrived(payload: str | None, sealed: Callable[[Failure], str]) -> _Arrived:
    """What the end of a child has put into its parent's inbox. Not parsed: what was sealed stays as it is."""
    text = payload or ""
    for (before, after), failed in ((_SUCCEEDED, False), (_FAILED, True)):
        if text.startswith(before):
            value = text[len(before) : len(text) - len(after)]
            if not failed:
                return _Arrived(value, None)
            if value != "null":
                return _Arrived(None, value)
    return _Arrived(None, sealed(_CANCELLED if text.startswith(f'{{"status":{Ending.CANCELLED:d},') else _UNKNOWN))


_CANCELLED = Failure(type=type_name(ChildCancelled), message="it was cancelled", reason="cancelled")
_UNKNOWN = Failure(type="unknown", message="no error was recorded")
