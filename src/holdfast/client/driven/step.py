"""A step of a run that is driven by hand."""

from __future__ import annotations

import time
from datetime import timedelta
from enum import Enum, StrEnum
from typing import TYPE_CHECKING, Any
from uuid import UUID

from holdfast.client.context import plain_json
from holdfast.client.driven.mistakes import refuse, span_mistakes
from holdfast.core.errors import ActivityFailed, StepEnded
from holdfast.core.failure import Failure
from holdfast.core.journal import EntryKind, attempt_key
from holdfast.core.remake import type_name
from holdfast.store import driven as store

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.client.driven.hands import Hands
    from holdfast.core.queue import Receipt
    from holdfast.integrations.catalogue import CallersConnection
    from holdfast.store.driven import Recorded
    from holdfast.store.inbox import Hint
    from holdfast.store.session import Session

_PLAIN = plain_json("the result of a step")


class StepStatus(StrEnum):
    """What is to be done about a step that was asked for."""

    EXECUTE = "execute"
    """It has no outcome: do it, and say what came of it."""
    SKIPPED = "skipped"
    """Its outcome is recorded: it is not to be done again."""


class Ended(Enum):
    """What is known of a step that was executed."""

    OUTCOME = "outcome"
    """Its outcome is recorded."""
    UNSURE = "unsure"
    """It will be, if the caller's transaction is committed."""
    GIVEN_BACK = "given back"
    """It is to be tried again, and its run is not in hand any more."""


class Step:
    """One step, as it was asked for: to be executed, or skipped with what is recorded of it.

    It runs at least once and its outcome is recorded once: who dies between the two leaves it to be executed again, and
    ``idempotency_key``, which stays the same, is there for what is called.
    """

    def __init__(
        self,
        hands: Hands,
        receipt: Receipt,
        *,
        name: str,
        key: str,
        recorded: Recorded,
        ended: Callable[[str, Ended], None],
    ) -> None:
        self._hands = hands
        self._receipt = receipt
        self._ended = ended
        self._began = time.monotonic()
        self._output = None if recorded.output is None else hands.context.seal.open(recorded.output)
        self._failure = None if recorded.error is None else Failure.from_json(hands.context.seal.open(recorded.error))
        self.name = name
        self.key = key
        """Its key in the journal, such as ``charge#1``."""
        self.status = StepStatus.SKIPPED if recorded.known else StepStatus.EXECUTE
        self.attempt = recorded.attempts + (0 if recorded.known else 1)
        """Which attempt this is, from 1; of one that is skipped, how many have failed before its outcome."""

    @property
    def run_id(self) -> UUID:
        """Of its run."""
        return self._receipt.run_id

    @property
    def idempotency_key(self) -> str:
        """The same for every attempt at this step, and for no other step of any run."""
        return f"{self.run_id}:{self.key}"

    @property
    def value(self) -> Any:
        """The recorded result, plain JSON; None as long as there is none.

        Raises:
            ActivityFailed: what is recorded is a failure.
        """
        if self._failure is not None:
            raise self._failed(self._failure)
        return None if self._output is None else _PLAIN.decode(self._output)

    @property
    def error(self) -> ActivityFailed | None:
        """The recorded failure, if it is one."""
        return None if self._failure is None else self._failed(self._failure)

    async def success(self, value: object = None, *, connection: CallersConnection | None = None) -> None:
        """Records the result.

        With a ``connection`` it becomes part of the caller's transaction there: so what the step does in that database
        and its outcome are one commit, once or not at all.

        Raises:
            StepEnded: it has an outcome, which counts.
            ReceiptLost, RunEnded: the run is not in these hands any more; nothing is written.
            Unstorable: the value cannot be stored, or is too large.
        """
        output, _ = _PLAIN.encode(value)
        await self._record(output, None, connection)

    async def fail(self, error: BaseException | str, *, connection: CallersConnection | None = None) -> None:
        """Records that it has failed for good. The run stays in hand: it may go on, or be failed too.

        Raises:
            As ``success``.
        """
        await self._record(None, _failure_of(error), connection)

    async def retry(self, *, after: timedelta = timedelta(0), error: BaseException | str | None = None) -> None:
        """Records a failed attempt, and gives the run back until the next one is due, in one commit.

        Raises:
            As ``success``.
        """
        refuse(f"{self.key} cannot be tried again", span_mistakes("after", after))
        self._refuse_skipped()
        seal = self._hands.context.seal
        failure = _failure_of("it is to be tried again" if error is None else error)
        text = seal.close(failure.to_json(), what="an error")

        async def write(session: Session, /, *, again: bool, hint: Hint | None) -> None:
            await store.record_step(
                session,
                self._receipt,
                key=attempt_key(self.key, self.attempt),
                kind=EntryKind.ATTEMPT,
                output=None,
                error=text,
                attempt=self.attempt,
                elapsed=self._elapsed,
                after=after,
                visibility=self._hands.visibility,
                again=again,
                hint=hint,
            )

        await self._hands.write(self._receipt, write)
        self._ended(self.key, Ended.GIVEN_BACK)

    async def _record(self, output: str | None, failure: Failure | None, connection: CallersConnection | None) -> None:
        self._refuse_skipped()
        seal = self._hands.context.seal
        what = f"the result of step {self.key!r}"
        sealed = None if output is None else seal.close(output, what=what)
        error = None if failure is None else seal.close(failure.to_json(), what="an error")

        async def write(session: Session, /, *, again: bool, hint: Hint | None) -> None:
            await store.record_step(
                session,
                self._receipt,
                key=self.key,
                kind=EntryKind.ACTIVITY,
                output=sealed,
                error=error,
                attempt=self.attempt,
                elapsed=self._elapsed,
                after=None,
                visibility=self._hands.visibility,
                again=again,
                hint=hint,
            )

        await self._hands.write(self._receipt, write, connection)
        self._output, self._failure = output, failure
        self._ended(self.key, Ended.OUTCOME if connection is None else Ended.UNSURE)

    def _refuse_skipped(self) -> None:
        if self.status is StepStatus.SKIPPED:
            raise StepEnded(self.run_id, f"{self.key} of run {self.run_id} has an outcome already: it is to be skipped")

    @property
    def _elapsed(self) -> timedelta:
        return timedelta(seconds=time.monotonic() - self._began)

    def _failed(self, failure: Failure) -> ActivityFailed:
        cause = None if failure.cause is None else f"{failure.cause.type}: {failure.cause.message}"
        return ActivityFailed(self.name, failure.type, failure.message, failure.traceback, cause)

    def __repr__(self) -> str:
        return f"<step {self.key} of run {self.run_id}: {self.status}>"


def _failure_of(error: BaseException | str) -> Failure:
    return Failure(type=type_name(ActivityFailed), message=error) if isinstance(error, str) else Failure.of(error)
