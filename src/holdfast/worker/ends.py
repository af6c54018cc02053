"""Runs that this worker holds only to write down what has become of them."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from holdfast.core.failure import Failure
from holdfast.core.states import Ending
from holdfast.store.writes import End
from holdfast.worker import moves
from holdfast.worker.held import Unit
from holdfast.workflow.log_context import of_run

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime, timedelta
    from uuid import UUID

    from holdfast.store.work import Claimed, Letter, Seen
    from holdfast.worker.bucket import Bucket
    from holdfast.worker.desk import Desk

log = logging.getLogger("holdfast.worker")


class _Written:
    """A run of which no code is entered: one unit is written, and that is all."""

    def __init__(self, desk: Desk, bucket: Bucket, run_id: UUID, hold: int, *, name: str = "") -> None:
        self._desk = desk
        self.name = name
        self.bucket = bucket
        self.run_id = run_id
        self.hold = hold
        self.crashed = 0
        self.looked_at = 0.0

    def unit(self) -> Unit:
        """What to write."""
        raise AssertionError("each kind says what it writes")

    def begin(self) -> None:
        """Writes it."""
        self._desk.write(self.unit())

    def letters(self, letters: Sequence[Letter]) -> None:
        """Nobody reads them."""

    def receive(self, letters: Sequence[Letter]) -> None:
        """Nobody reads them."""

    def give_back(self, *, after: timedelta | None = None, untouched: bool = False) -> bool:
        """It is for this worker to say."""
        return False

    def looked(self, seen: Seen | None) -> bool:
        """Nothing to be read."""
        return False

    def committed(self, unit: Unit, at: datetime) -> None:
        """It is written."""
        self._desk.let_go(self)

    def overtaken(self, unit: Unit) -> Unit | None:
        """It ends no attempt."""
        return unit

    def lost(self) -> None:
        """Somebody else has it."""
        self._desk.let_go(self)

    def rejected(self, unit: Unit, error: BaseException) -> None:
        """Left to recovery: there is nothing smaller to write."""
        log.error("run %s: %s", self.run_id, error, extra=of_run(self.run_id, self.name))
        self._desk.let_go(self)

    def drain(self) -> None:
        """What it has to say is said, or will be."""

    def close(self) -> None:
        """Nothing of it runs."""


class Condemned(_Written):
    """A run whose worker died too often while it was executed: it ends as failed, with that reason."""

    def __init__(self, desk: Desk, bucket: Bucket, claimed: Claimed) -> None:
        super().__init__(desk, bucket, claimed.run_id, claimed.hold, name=claimed.name)
        self._claimed = claimed

    def unit(self) -> Unit:
        """Its end."""
        failure = Failure(
            type="holdfast.core.errors:RunFailed",
            message=f"given up after {self._claimed.crashes} crashes of the workers that executed it",
            reason="crashes",
        )
        log.error("run %s of %r: %s", self.run_id, self.name, failure.message, extra=of_run(self.run_id, self.name))
        return Unit(self, end=End(Ending.FAILED, None, self._desk.sealed(failure), self._claimed.parent))


class Terminated(_Written):
    """A run that is to end at once, and was given back before its holder knew: it ends as cancelled."""

    def __init__(self, desk: Desk, bucket: Bucket, claimed: Claimed) -> None:
        super().__init__(desk, bucket, claimed.run_id, claimed.hold, name=claimed.name)
        self._parent = claimed.parent

    def unit(self) -> Unit:
        """Its end."""
        return Unit(self, end=End(Ending.CANCELLED, None, None, self._parent))


class Unreadable(_Written):
    """A run whose input or journal this worker cannot read: it is blocked, for a deploy that can."""

    def __init__(self, desk: Desk, bucket: Bucket, claimed: Claimed, error: BaseException) -> None:
        super().__init__(desk, bucket, claimed.run_id, claimed.hold, name=claimed.name)
        self._claimed = claimed
        self._error = error

    def unit(self) -> Unit:
        """The move that blocks it."""
        log.error(
            "run %s of %r is blocked: %s", self.run_id, self.name, self._error, extra=of_run(self.run_id, self.name)
        )
        move = moves.blocked(self._claimed.inbox_count)
        return Unit(self, move=move, blocked=f"{type(self._error).__name__}: {self._error}")


class Stray(_Written):
    """A run that this worker has claimed without learning of it: it goes back."""

    def unit(self) -> Unit:
        """The move that gives it back."""
        log.warning(
            "run %s was claimed, but the answer was lost: it is given back",
            self.run_id,
            extra=of_run(self.run_id, self.name),
        )
        return Unit(self, move=moves.given_back(0, clear=0))
