"""Going on from what a run has recorded: retry, rewind, fork.

Each makes a new run, whose journal begins with a copy of the rows that are kept; what is recorded never changes. Which
rows are kept is decided here, from what never changes either; the database makes the new run in one transaction, and
sees to it that a run is replaced once.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import UUID

from holdfast.client.operations import Effect, operate
from holdfast.client.options import timeout_mistakes
from holdfast.client.outcome import read_failure
from holdfast.core.call_options import CALL, call_fields
from holdfast.core.continuation import Kept, Recorded, kept_before, kept_for_retry, outcomes
from holdfast.core.errors import InvalidInput, OperationRefused, RunNotFound
from holdfast.core.headers import headers_of
from holdfast.core.lineage import first_tags, lineage_of
from holdfast.core.states import Continuation, Ending, RunKind
from holdfast.store.continuing import Origin, Outline, continue_run, read_origin, read_outline
from holdfast.store.operations import Verb
from holdfast.supervise.backoff import Backoff

if TYPE_CHECKING:
    from holdfast.client.context import Context
    from holdfast.store.session import Session

_WITH_STEPS = frozenset({RunKind.WORKFLOW, RunKind.DRIVEN})
_PATIENCE = 45.0
"""Seconds for which a rewind waits until the run is given back: longer than the lease of a worker that has died."""


async def retry(context: Context, run_id: UUID, *, timeout: timedelta | None) -> UUID:
    """A new run that goes on from the last good step of a failed or cancelled one; gives its id."""
    _refuse_timeout(timeout)
    origin, rows = await _read(context, run_id, exact=False)
    if origin.ending is not Ending.FAILED and origin.ending is not Ending.CANCELLED:
        where = "has not ended" if origin.ending is None else f"has {origin.ending.name.lower()}"
        raise OperationRefused(origin.id, f"{where}: only a failed or cancelled run is retried; rewind goes back in it")
    kept: Sequence[int] = ()
    if origin.kind in _WITH_STEPS:
        failure = read_failure(origin.error, context.seal) if origin.error is not None else None
        kept = kept_for_retry(_recorded(context, rows), origin.ending, failure).seqs
    return await _make(
        context,
        origin,
        Continuation.RETRY,
        kept=kept,
        lineage=lineage_of(origin.options, origin.id, origin.created_at).retried(),
        timeout=timeout,
        without=None,
        input=None,
    )


async def rewind(context: Context, run_id: UUID, *, to: str, timeout: timedelta | None) -> UUID:
    """A new run that has seen everything before the outcome ``to``, in place of the old one; gives its id."""
    _refuse_timeout(timeout)
    origin, rows = await _read(context, run_id, exact=False)
    kept = _kept_before(context, origin, rows, to)
    lineage = lineage_of(origin.options, origin.id, origin.created_at).branched(kept.last_step)
    async with _given_back(context, origin):
        return await _make(
            context,
            origin,
            Continuation.REWIND,
            kept=kept.seqs,
            lineage=lineage,
            timeout=timeout,
            without=to,
            input=None,
        )


async def fork(
    context: Context, run_id: UUID, *, from_: str | None, input: Mapping[str, object] | None, timeout: timedelta | None
) -> UUID:
    """A new run that has seen everything before the outcome ``from_``, beside the old one; gives its id."""
    _refuse_timeout(timeout)
    origin, rows = await _read(context, run_id, exact=True)
    kept = Kept([], None) if from_ is None else _kept_before(context, origin, rows, from_)
    text = None if input is None else context.encoder.input_of(origin.name, input)
    return await _make(
        context,
        origin,
        Continuation.FORK,
        kept=kept.seqs,
        lineage=lineage_of(origin.options, origin.id, origin.created_at).branched(kept.last_step),
        timeout=timeout,
        without=from_,
        input=text,
    )


async def _read(context: Context, run_id: UUID, *, exact: bool) -> tuple[Origin, list[Outline]]:
    async def read(session: Session) -> tuple[Origin | None, list[Outline]]:
        origin = await read_origin(session, run_id, exact=exact)
        return origin, [] if origin is None else await read_outline(session, origin.id)

    origin, rows = await context.database.call(read)
    if origin is None:
        raise RunNotFound(run_id)
    return origin, rows


def _recorded(context: Context, rows: Sequence[Outline]) -> list[Recorded]:
    return [
        Recorded(
            row.seq,
            row.kind,
            row.key,
            row.started_at,
            row.at,
            None if row.error is None else read_failure(row.error, context.seal),
        )
        for row in rows
    ]


def _kept_before(context: Context, origin: Origin, rows: Sequence[Outline], key: str) -> Kept:
    if origin.kind not in _WITH_STEPS:
        raise OperationRefused(origin.id, "is a job, which has no steps: retry it, or start another one")
    recorded = _recorded(context, rows)
    kept = kept_before(recorded, key)
    if kept is None:
        keys = outcomes(recorded)
        shown = ", ".join(keys[-20:]) if keys else "none"
        more = f", and {len(keys) - 20} before them" if len(keys) > 20 else ""
        raise InvalidInput(f"{key!r} is not in the journal of run {origin.id}; there is: {shown}{more}")
    return kept


async def _make(
    context: Context,
    origin: Origin,
    how: Continuation,
    *,
    kept: Sequence[int],
    lineage: dict[str, object],
    timeout: timedelta | None,
    without: str | None,
    input: str | None,
) -> UUID:
    new_id = context.encoder.next_id()
    options: dict[str, object] = {}
    headers = headers_of(origin.options)
    if headers:
        options["headers"] = dict(headers)
    call = call_fields(origin.options)
    if call is not None:
        options[CALL] = call
    if lineage:
        options["lineage"] = lineage
        # Its code sees the tags that it was started with, whatever they were changed to since.
        options["tags"] = first_tags(origin.options, origin.tags)

    async def work(session: Session) -> str:
        return await continue_run(
            session,
            origin.id,
            new_id,
            how,
            kept=kept,
            without=without,
            input=input,
            timeout=timeout,
            options=json.dumps(options),
        )

    # Sent again with the same id it makes no second run.
    match await context.database.call(work):
        case "done":
            return new_id
        case "held":
            raise _Held
        case "child":
            reason = "is a child that its parent waits for: rewind the parent, or cancel the child and retry it"
        case "continued":
            reason = "was retried or rewound by somebody else at this moment"
        case _:
            reason = "has not ended: only a failed or cancelled run can be retried"
    raise OperationRefused(origin.id, reason)


class _Held(Exception):
    """A worker has claimed it meanwhile."""


@asynccontextmanager
async def _given_back(context: Context, origin: Origin) -> AsyncGenerator[None]:
    """Has an open run given back, so that it can be ended; what is left of it if that fails goes on."""
    if not origin.open:
        yield
        return
    try:
        effect = (await operate(context, Verb.PAUSE_AT_ONCE, [origin.id]))[origin.id]
        backoff = Backoff(first=0.01, most=0.1)
        over = asyncio.get_running_loop().time() + _PATIENCE
        while effect is Effect.REQUESTED and asyncio.get_running_loop().time() < over:
            await asyncio.sleep(backoff.delay())
            effect = (await operate(context, Verb.PAUSE_AT_ONCE, [origin.id]))[origin.id]
        yield
    except BaseException as error:
        if not origin.paused:
            await asyncio.shield(operate(context, Verb.RESUME, [origin.id]))
        if isinstance(error, _Held):
            raise OperationRefused(
                origin.id, f"is held by a worker that has not given it back within {_PATIENCE:g} s; it goes on"
            ) from None
        raise


def _refuse_timeout(timeout: timedelta | None) -> None:
    mistakes = list(timeout_mistakes(timeout))
    if mistakes:
        raise InvalidInput("; ".join(mistakes))
