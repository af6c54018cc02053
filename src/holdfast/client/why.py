"""Why a run does not move: what it waits for, and what would move it. Known from the database, without its code."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Literal
from uuid import UUID

from holdfast.client.outcome import read_failure
from holdfast.core.errors import RunNotFound, Unreadable
from holdfast.core.limit import LimitKind, kind_of
from holdfast.core.priority import Priority
from holdfast.core.queue import queue_of
from holdfast.core.span import span_in_words
from holdfast.core.states import Flag, RunKind, RunStatus
from holdfast.store.limits import WaitingFor, waiting_for
from holdfast.store.operations import Awaited, LastAttempt, Standing, read_standing

if TYPE_CHECKING:
    from holdfast.client.context import Context
    from holdfast.core.seal import Seal

ReasonKind = Literal[
    "ended",
    "paused",
    "held",
    "dead letter",
    "blocked",
    "scheduled",
    "line",
    "no worker",
    "signal",
    "update",
    "timer",
    "retry",
    "child",
    "outcome",
    "request",
    "limit",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """One thing that a run waits for, or that stands in its way."""

    kind: ReasonKind
    text: str
    """In words."""
    what: str | None = None
    """Which signal or update, or which outcome by its key."""
    since: datetime | None = None
    until: datetime | None = None
    """When it is over by itself."""
    remedy: str | None = None
    """What would move the run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Why:
    """Why a run stands where it stands; as text, a line for each reason."""

    run_id: UUID
    """Of the run that it is now, where it was retried or rewound."""
    name: str
    status: RunStatus
    reasons: Sequence[Reason]

    def __str__(self) -> str:
        return "\n".join(one.text + (f"; {one.remedy}" if one.remedy else "") for one in self.reasons)


async def why(context: Context, run_id: UUID) -> Why:
    """Why the run stands where it stands.

    Raises:
        RunNotFound: there is no such run.
    """
    found = await context.database.call(lambda session: read_standing(session, run_id))
    if found is None:
        raise RunNotFound(run_id)
    standing, attempts, children = found
    permit = None
    if standing.flags & Flag.LIMITED and not standing.held:
        permit = await context.database.call(lambda session: waiting_for(session, standing.id))
    if permit is not None:
        reasons = (*_requests(standing), _limited(standing, permit), *_nobody(standing))
    else:
        reasons = tuple(_reasons(standing, attempts, children, context.seal))
    return Why(run_id=standing.id, name=standing.name, status=standing.status, reasons=reasons)


def _reasons(
    run: Standing, attempts: Sequence[LastAttempt], children: Mapping[str, Awaited], seal: Seal
) -> Iterator[Reason]:
    if run.status.ended:
        yield _end(run, seal)
        return
    yield from _requests(run)
    if run.status is RunStatus.PAUSED:
        yield Reason(
            kind="paused", text=f"paused since {_ago(run, run.paused_at)}", since=run.paused_at, remedy="resume it"
        )
    if run.held and run.status not in _AHEAD:
        yield _held(run)
        return
    if run.kind in (RunKind.DRIVEN, RunKind.MESSAGE):
        yield from _for_consumers(run, attempts, seal)
        return
    match run.status:
        case RunStatus.SCHEDULED | RunStatus.ASSIGNED:
            yield Reason(
                kind="scheduled", text=f"begins {_then(run, run.due_at)}", until=run.due_at, remedy="or wake it"
            )
        case RunStatus.READY:
            yield from _in_line(run)
            return
        case RunStatus.BLOCKED:
            yield Reason(
                kind="blocked",
                text=f"blocked since {_ago(run, run.blocked_at)}: {run.blocked_reason}",
                since=run.blocked_at,
                until=run.due_at,
                remedy=f"tried again {_then(run, run.due_at)}, and when a worker with its name starts",
            )
        case _:
            yield from _parked_for(run, attempts, children, seal)
    yield from _nobody(run)


def _for_consumers(run: Standing, attempts: Sequence[LastAttempt], seal: Seal) -> Iterator[Reason]:
    """What holds up a message, or a run that is driven by hand: no worker executes it."""
    what = run.waits_for or ""
    last = max((at for at in (run.last_at, run.first_claim_at) if at is not None), default=None)
    if run.flags & Flag.BEGUN and run.status is not RunStatus.READY:
        yield Reason(
            kind="held",
            text=f"in the hands of {what.removeprefix(_HANDS) or 'somebody who has received it'}",
            since=last,
            until=run.due_at,
            remedy="it is there until it is given back or ended, or until its heartbeats stop",
        )
        return
    if run.dead_reason is not None:
        yield Reason(
            kind="dead letter",
            text=f"a dead letter since {_ago(run, run.dead_at)}: {run.dead_reason}",
            since=run.dead_at,
            remedy=f"redrive it: holdfast queue redrive {queue_of(run.name)} {run.id}",
        )
        return
    if what.startswith(_SAID):
        yield Reason(kind="paused", text=f"who gave it back says: {what.removeprefix(_SAID)}", since=last)
    match run.status:
        case RunStatus.READY:
            line = "next in line" if not run.ahead else f"{run.ahead:,} before it in line"
            call = f"driven.consumer({run.name!r})"
            if run.kind is RunKind.MESSAGE:
                call = f"queue({queue_of(run.name)!r}).consume()"
            yield Reason(
                kind="line",
                text=f"due since {_ago(run, run.due_at)}, {line}",
                since=run.due_at,
                remedy=f"a consumer takes it: client.{call}",
            )
        case RunStatus.SCHEDULED | RunStatus.WAITING:
            tried = next((one for one in attempts if one.key == what), None)
            if tried is not None:
                yield _retry(run, tried, seal)
            else:
                yield Reason(
                    kind="scheduled",
                    text=f"to be taken {_then(run, run.due_at)}",
                    until=run.due_at,
                    remedy="or wake it",
                )
        case _:
            return


def _end(run: Standing, seal: Seal) -> Reason:
    words = f"it has {_ENDED[run.status]}, {_ago(run, run.ended_at)} ago"
    if run.error is not None:
        words += f", with {_error(run.error, seal)}"
    return Reason(
        kind="ended",
        text=words,
        since=run.ended_at,
        remedy=None if run.status is RunStatus.SUCCEEDED else "retry it, and it goes on from its last good step",
    )


def _requests(run: Standing) -> Iterator[Reason]:
    if run.flags & Flag.TERMINATE:
        yield Reason(kind="request", text="it was told to end at once")
    elif run.flags & Flag.CANCEL:
        yield Reason(kind="request", text="it was asked to cancel, and may clean up first")
    if run.flags & Flag.WAKE:
        yield Reason(kind="request", text="it was woken")
    if run.flags & Flag.RESCHEDULED:
        yield Reason(kind="request", text="it was rescheduled, which its worker obeys when it gives it back")


def _held(run: Standing) -> Reason:
    last = max((at for at in (run.last_at, run.first_claim_at) if at is not None), default=None)
    if run.lease_left is None or run.lease_left <= timedelta(0):
        return Reason(
            kind="held",
            text=f"held by worker {run.worker or 'nobody'}, whose lease is over",
            since=last,
            remedy="another worker takes it over in a moment",
        )
    does = "finishes what runs of it" if run.status is RunStatus.PAUSED else "executes it"
    did = "it last recorded something" if run.last_at is not None else "it began"
    return Reason(kind="held", text=f"worker {run.worker} {does}; {did} {_ago(run, last)} ago", since=last)


def _in_line(run: Standing) -> Iterator[Reason]:
    nobody = list(_nobody(run))
    if nobody:
        yield from nobody
        return
    since = f"due since {_ago(run, run.due_at)}"
    if run.crashes >= 2:
        yield Reason(
            kind="line",
            text=f"{since}; {run.crashes} workers have died with it, so it is executed apart",
            since=run.due_at,
        )
        return
    ahead = {0: "next in line", 1: "one run is before it in line", 1000: "1,000 runs or more are before it in line"}
    yield Reason(
        kind="line",
        text=f"{since}, {ahead.get(run.ahead, f'{run.ahead:,} runs are before it in line')}",
        since=run.due_at,
        remedy="more workers, or a higher parallelism_factor" if run.ahead else None,
    )


def _limited(run: Standing, permit: WaitingFor) -> Reason:
    kind, name = kind_of(permit.name)
    rate = kind is LimitKind.RATE
    what = f"{kind} {name!r}"
    key = f", key {permit.key!r}" if permit.key else ""
    place = {0: "next in line", 1: "one run is before it", 1000: "1,000 runs or more are before it"}
    ahead = place.get(permit.ahead, f"{permit.ahead:,} runs are before it")
    if kind is LimitKind.DEBOUNCE:
        text, remedy = f"waits for {what}{key}: it begins when no other start has come for its window", None
    elif kind is LimitKind.FAIR:
        text, remedy = f"waits for its turn among those of {name!r}{key}; {ahead}", None
    elif rate:
        text, remedy = f"waits for {what}{key}; {ahead}", None
        if permit.ahead == 0 and permit.opens_at is not None:
            text = f"{text}: {_then(run, permit.opens_at)}"
    else:
        taken = "" if permit.taken is None else f": {permit.taken} of {permit.most} permits are taken"
        text = f"waits for a permit of {what}{key}{taken}; {ahead}"
        remedy = f"held by {', '.join(map(str, permit.holders))}" if permit.holders else None
    return Reason(
        kind="limit",
        text=text,
        what=permit.name,
        since=permit.since,
        until=permit.opens_at if kind is not LimitKind.LIMIT and permit.ahead == 0 else None,
        remedy=remedy,
    )


def _nobody(run: Standing) -> Iterator[Reason]:
    lane = run.lane.partition(" ")[0]
    if not run.serving and run.paused:
        yield Reason(
            kind="no worker",
            text=f"lane {lane!r} has no worker that is not paused and has {_code(run.name, run.version)}",
            what=lane,
            remedy=f"holdfast worker resume --lane {lane}",
        )
    elif not run.workers:
        yield _no_worker(lane, run.name, run.version)
    elif not run.able:
        yield _no_code(lane, run.name, run.version)
    elif not run.serving:
        word = Priority(run.priority).word
        yield Reason(
            kind="no worker",
            text=f"no worker of lane {lane!r} that has {_code(run.name, run.version)} serves priority {word}",
            what=word,
            remedy=f"give one a bucket for it: --buckets {word}=1",
        )


def _no_worker(lane: str, name: str, version: str | None) -> Reason:
    return Reason(
        kind="no worker",
        text=f"lane {lane!r} has no worker",
        what=lane,
        remedy=f"start one that has {_code(name, version)}: holdfast worker --lane {lane}",
    )


def _no_code(lane: str, name: str, version: str | None) -> Reason:
    code = _code(name, version)
    return Reason(
        kind="no worker", text=f"no worker of lane {lane!r} has {code}", what=name, remedy="deploy code that has it"
    )


def _code(name: str, version: str | None) -> str:
    return repr(name) if version is None else f"version {version} of {name!r}"


def _parked_for(
    run: Standing, attempts: Sequence[LastAttempt], children: Mapping[str, Awaited], seal: Seal
) -> Iterator[Reason]:
    since = run.last_at or run.first_claim_at or run.created_at
    failed: dict[str, LastAttempt] = {}
    for attempt in attempts:
        failed.setdefault(attempt.key, attempt)
    waits = [line for line in (run.waits_for or "").split("\n") if line]
    if not waits and run.due_at is not None:
        # A job, which waits for nothing but its next attempt.
        waits = [attempts[0].key] if attempts else []
    for line in waits:
        kind, colon, name = line.partition(":")
        if kind in ("signal", "update") and colon:
            yield _letter(run, "signal" if kind == "signal" else "update", name, since)
        elif kind == "outside" and colon:
            yield Reason(
                kind="outcome",
                text=f"waits for the completion of {name} from outside since {_ago(run, since)}",
                what=name,
                since=since,
                until=run.due_at,
                remedy="complete it by its token",
            )
        elif line in failed:
            yield _retry(run, failed[line], seal)
        elif line in children:
            awaited = children[line]
            what = f"{line}, dispatched to lane {awaited.lane!r}," if awaited.dispatched else f"child {line}"
            yield Reason(
                kind="outcome" if awaited.dispatched else "child",
                text=f"waits for {what} since {_ago(run, since)}",
                what=line,
                since=since,
                remedy=f"holdfast run why {awaited.run_id}",
            )
        elif not line.startswith("timer#"):
            yield Reason(kind="outcome", text=f"waits for {line} since {_ago(run, since)}", what=line, since=since)
    timers = [line for line in waits if line.startswith("timer#")]
    if timers and run.due_at is not None and run.due_at not in {one.next_at for one in failed.values()}:
        yield Reason(
            kind="timer",
            text=f"sleeps until {_then(run, run.due_at)} ({', '.join(timers)})",
            what=timers[0],
            since=since,
            until=run.due_at,
            remedy="or wake it",
        )
    lacking = {(one.lacks, one.lane, one.name) for one in children.values() if one.lacks and one.name}
    for lacks, lane, name in sorted(lacking, key=str):
        called, _, version = name.partition("@")
        yield (_no_worker if lacks == "lane" else _no_code)(lane, called, version or None)
    if not waits:
        yield Reason(kind="outcome", text=f"parked since {_ago(run, since)}", since=since)


def _letter(run: Standing, kind: Literal["signal", "update"], name: str, since: datetime) -> Reason:
    if name in run.letters:
        # It is paused, or about to go on.
        return Reason(kind=kind, text=f"{kind} {name!r}, for which it waited, has come", what=name, since=since)
    text = f"waits for {kind} {name!r} since {_ago(run, since)}"
    return Reason(kind=kind, text=text, what=name, since=since, remedy="send it")


def _retry(run: Standing, attempt: LastAttempt, seal: Seal) -> Reason:
    error = _error(attempt.error, seal)
    times = "one attempt has failed" if attempt.number == 1 else f"{attempt.number} attempts have failed"
    return Reason(
        kind="retry",
        text=f"tries {attempt.key} again {_then(run, attempt.next_at)}: {times}, the last with {error}",
        what=attempt.key,
        since=attempt.at,
        until=attempt.next_at,
        remedy="or wake it",
    )


_HANDS = "@hands:"
"""Before the name of the consumer that has a run in hand."""
_SAID = "@said:"
"""Before what somebody said who gave one back."""


def _error(text: str | None, seal: Seal) -> str:
    try:
        failure = read_failure(text, seal)
    except Unreadable:
        return "an error that cannot be read without its codec"
    return f"{failure.type.rpartition(':')[2]}: {failure.message}"


_AHEAD = frozenset({RunStatus.ASSIGNED, RunStatus.WAITING, RunStatus.BLOCKED})
"""Of a run that is held: a worker has it ahead of its time, and it waits all the same."""

_ENDED = {
    RunStatus.SUCCEEDED: "succeeded",
    RunStatus.FAILED: "failed",
    RunStatus.CANCELLED: "been cancelled",
    RunStatus.CONTINUED: "gone on as a new run",
}


def _ago(run: Standing, at: datetime | None) -> str:
    return "some time" if at is None else span_in_words(run.now - at)


def _then(run: Standing, at: datetime | None) -> str:
    if at is None:
        return "at some time"
    moment = at.isoformat(sep=" ", timespec="seconds")
    return f"{moment}, in {span_in_words(at - run.now)}" if at > run.now else f"{moment}, which is now"
