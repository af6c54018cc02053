"""A run that is driven by hand, in the hands of a consumer."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from holdfast.client.context import plain_json
from holdfast.client.driven.mistakes import moment_mistakes, refuse, span_mistakes
from holdfast.client.driven.step import Ended, Step
from holdfast.client.options import key_mistakes, name_mistakes
from holdfast.core.errors import ActivityFailed, StepNotDue
from holdfast.core.failure import Failure
from holdfast.core.headers import headers_of
from holdfast.core.priority import Priority
from holdfast.core.remake import type_name
from holdfast.core.states import Ending
from holdfast.store import driven as store

if TYPE_CHECKING:
    from holdfast.client.driven.hands import Hands
    from holdfast.core.priority import PriorityName
    from holdfast.integrations.catalogue import CallersConnection
    from holdfast.store.driven import Recorded
    from holdfast.store.inbox import Hint
    from holdfast.store.session import Session
    from holdfast.store.taking import Taken

_PLAIN = plain_json("the result of a run")
_INPUT = plain_json("the input of a run")
_LONGEST_REASON = 500


class DrivenRun:
    """A run that a consumer has taken: in its hands until it ends it or gives it back, while its heartbeat goes on.

    Who takes a run that was begun begins its code from the top: steps that have an outcome are skipped with it. One
    that nobody refers to any more, because its code raised for example, is not kept: it is due again when its
    visibility has passed.
    """

    def __init__(self, hands: Hands, taken: Taken, *, workflow: str, lane: str) -> None:
        self._hands = hands
        self._input = taken.input
        self._options = taken.options
        self._seen: Counter[str] = Counter()
        self._unsure: set[str] = set()
        self._over = False
        self.receipt = taken.receipt
        self.workflow = workflow
        self.lane = lane
        self.priority: PriorityName = Priority(taken.priority).word
        self.tags: Mapping[str, str] = {} if taken.tags is None else json.loads(taken.tags)
        self.created_at: datetime = taken.created_at
        self.deadline: datetime | None = taken.deadline
        """When its timeout is over, if it has one."""

    @property
    def id(self) -> UUID:
        """Of the run, and of the message that it is in line: they are one."""
        return self.receipt.run_id

    @property
    def input(self) -> dict[str, Any]:
        """What it was triggered with.

        Raises:
            Unreadable: it was written with a codec that is not configured here.
        """
        values: dict[str, Any] = _INPUT.decode(self._hands.context.seal.open(self._input))
        return values

    @property
    def headers(self) -> Mapping[str, str]:
        """What was given to its trigger, by its caller or by middleware."""
        return headers_of(self._options)

    @property
    def lost(self) -> bool:
        """Whether it is known that it is not in these hands any more: it was ended, or others have taken it."""
        return self._hands.has_lost(self.receipt)

    @property
    def over(self) -> bool:
        """Whether it was ended or given back from here."""
        return self._over

    # ---- its steps

    async def acquire_step(self, name: str, /, *, key: str | None = None, current_time: datetime | None = None) -> Step:
        """Asks for a step: to be executed, or, where its outcome is recorded, to be skipped with that.

        The n-th step of a name is ``name#n``; asked for again before it has an outcome, it is the same one. A step with
        a ``key`` is that one, whenever it is asked for: steps of one name that go on at the same time need keys.
        With a ``current_time`` a step that is to be tried again is refused before its time by that clock; without one
        it may be executed, because the run was due.

        Raises:
            ReceiptLost, RunEnded: the run is not in these hands any more.
            RunPaused: somebody has paused it: release it.
            StepNotDue: it is to be tried again, later than ``current_time``.
            InvalidInput: the name, the key or the time cannot be used.
        """
        refuse(
            f"step {name!r} of run {self.id} cannot be acquired",
            name_mistakes("the name of a step", name),
            key_mistakes("key", key),
            moment_mistakes("current_time", current_time),
        )
        full, recorded = await self._recorded(name, key)
        until = recorded.not_before
        if current_time is not None and until is not None and not recorded.known and current_time < until:
            raise StepNotDue(self.id, full, until)
        if recorded.known:
            self._has_seen(full)
        return Step(self._hands, self.receipt, name=name, key=full, recorded=recorded, ended=self._step_ended)

    async def _recorded(self, name: str, key: str | None) -> tuple[str, Recorded]:
        while True:
            full = f"{name}#{self._seen[name] + 1}" if key is None else f"{name}:{key}#1"

            async def read(session: Session, full: str = full) -> Recorded:
                return await store.read_step(session, self.receipt, full)

            recorded = await self._hands.context.database.call(read)
            if not recorded.known or full not in self._unsure:
                return full, recorded
            # It was recorded in a transaction of the caller's, which has been committed: the next one is meant.
            self._unsure.discard(full)
            if key is not None:
                return full, recorded
            self._has_seen(full)

    def _has_seen(self, key: str) -> None:
        name, _, number = key.rpartition("#")
        self._seen[name] = max(self._seen[name], int(number))

    def _step_ended(self, key: str, how: Ended) -> None:
        match how:
            case Ended.OUTCOME:
                self._has_seen(key)
            case Ended.UNSURE:
                self._unsure.add(key)
            case Ended.GIVEN_BACK:
                self._is_over()

    # ---- giving it back

    async def pause(self, reason: str | None = None, /, *, resume_after: timedelta | None = None) -> None:
        """Gives it back until somebody resumes it, or until ``resume_after`` has passed; ``reason`` is for people.

        Raises:
            ReceiptLost, RunEnded: it is not in these hands any more.
        """
        refuse(f"run {self.id} cannot be paused", span_mistakes("resume_after", resume_after))
        what = None if reason is None else f"@said:{' '.join(reason.split())[:_LONGEST_REASON]}"
        await self._give_back(resume_after, what)

    async def release(self, *, after: timedelta = timedelta(0)) -> None:
        """Gives it back: others may take it, after a while if one is given.

        Raises:
            ReceiptLost, RunEnded: it is not in these hands any more.
        """
        refuse(f"run {self.id} cannot be released", span_mistakes("after", after))
        await self._give_back(after, None)

    # ---- ending it

    async def complete(self, value: object = None, /, *, connection: CallersConnection | None = None) -> None:
        """Ends it as succeeded, with this result; with a ``connection`` as a part of the caller's transaction there.

        Raises:
            ReceiptLost, RunEnded: it is not in these hands any more; nothing is written.
            Unstorable: the value cannot be stored, or is too large.
        """
        text, _ = _PLAIN.encode(value)
        output = self._hands.context.seal.close(text, what=f"the result of run {self.id}")
        await self._end(Ending.SUCCEEDED, output, None, connection)

    async def fail(self, error: BaseException | str, /, *, connection: CallersConnection | None = None) -> None:
        """Ends it as failed with this error.

        Raises:
            ReceiptLost, RunEnded: it is not in these hands any more; nothing is written.
        """
        told = Failure(type=type_name(ActivityFailed), message=error) if isinstance(error, str) else Failure.of(error)
        await self._end(
            Ending.FAILED, None, self._hands.context.seal.close(told.to_json(), what="an error"), connection
        )

    async def archive(self) -> bool:
        """Ends it as succeeded without a result, unless it has been ended from here; says whether it did."""
        if self._over:
            return False
        await self._end(Ending.SUCCEEDED, None, None, None)
        return True

    async def _give_back(self, after: timedelta | None, what: str | None) -> None:
        async def write(session: Session, /, *, again: bool, hint: Hint | None) -> None:
            await store.give_back(session, self.receipt, after=after, what=what, again=again, hint=hint)

        await self._hands.write(self.receipt, write)
        self._is_over()

    async def _end(
        self, ending: Ending, output: str | None, error: str | None, connection: CallersConnection | None
    ) -> None:
        async def write(session: Session, /, *, again: bool, hint: Hint | None) -> None:
            await store.end(session, self.receipt, ending, output=output, error=error, again=again, hint=hint)

        await self._hands.write(self.receipt, write, connection)
        self._hands.handled += 1
        if connection is None:
            self._is_over()

    def _is_over(self) -> None:
        self._over = True
        self._hands.let_go(self.receipt)

    def __repr__(self) -> str:
        return f"<run {self.id} of {self.workflow!r}, driven by hand>"
