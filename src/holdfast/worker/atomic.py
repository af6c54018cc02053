"""One attempt at a transactional activity: its code, the record of its outcome, the commit, and what became of it.

When its code has returned, it waits for its turn among what its run writes, records its outcome together with the proof
that this worker may, and commits. From the record on it is not cancelled any more: only the database knows then whether
it was committed. If the answer is lost, the database is asked; nothing is done again before it has said no.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from functools import partial
from typing import TYPE_CHECKING

import asyncpg

from holdfast.core.errors import ActivityTimedOut, DatabaseUnavailable, HoldfastError, TransactionEnded, WorkerFenced
from holdfast.core.states import Ending
from holdfast.store import transactions as store
from holdfast.store.connect import is_away, said, translate
from holdfast.store.writes import End
from holdfast.supervise.backoff import Backoff
from holdfast.worker.attempt import Outcome
from holdfast.worker.executor import failed
from holdfast.worker.held import Unit

if TYPE_CHECKING:
    from datetime import datetime

    from holdfast.integrations.library import Transaction
    from holdfast.worker.attempt import Attempt
    from holdfast.worker.gate import Turn
    from holdfast.worker.transactions import Transactions

log = logging.getLogger("holdfast.worker")

_ROLLBACK = 5.0
"""Seconds for a rollback; then the server is told to end that transaction."""
_MARGIN = 5.0
"""Seconds for which the server leaves a transaction open beyond its limit: here it is known better what it was."""
_TELLING = 10
"""After so many tries that found the database away it is said aloud."""
_DECISION = 3.0
"""Seconds that a commit may take on the server after its connection was lost; then its backend is ended."""


class Atomic:
    """Runs one attempt; hands its outcome over once, before it lets go of the connection."""

    def __init__(self, transactions: Transactions, attempt: Attempt) -> None:
        self._transactions = transactions
        self._attempt = attempt
        self._mark = secrets.token_hex(8)
        self._limit = transactions.lease if attempt.timeout is None else attempt.timeout
        self._pid: int | None = None
        self._cutting: asyncio.TimerHandle | None = None

    async def run(self) -> None:
        """Returns when the connection is free again."""
        attempt = self._attempt
        try:
            transaction = await self._begin()
        except WorkerFenced as error:
            self._transactions.fenced(error)
            return
        except Exception as error:
            attempt.finish(failed(attempt, error, timed_out=False))
            return
        scope: asyncio.Timeout | None = None
        self._cut_after(self._limit, transaction)
        try:
            async with asyncio.timeout(self._limit) as scope:
                output, turn = await self._code(transaction)
        except BaseException as error:
            if attempt.turn is not None:
                attempt.turn.settle(None)
            timed_out = scope is not None and scope.expired()
            await self._give_up(transaction, attempt.verdict or self._outcome_of(error, timed_out=timed_out))
            if isinstance(error, asyncio.CancelledError):
                raise
            return
        # Of its own: whoever does not want the outcome any more cannot stop it now.
        committing = asyncio.create_task(self._commit(transaction, turn, output), name="holdfast commit")
        self._transactions.keep(committing)
        await asyncio.shield(committing)

    # -- its code

    async def _begin(self) -> Transaction:
        """A transaction that is marked; while the database is away it is waited for, which is no failed attempt."""
        transactional = self._attempt.activity.transactional
        assert transactional is not None
        source = self._transactions.source(transactional.library)
        backoff = Backoff(first=0.02, most=1.0)
        tries = 0
        while True:
            try:
                transaction = await source.begin(transactional.isolation_level)
                self._cut_after(self._limit, transaction)
                try:
                    async with asyncio.timeout(self._limit):
                        self._pid = await store.begin_activity(
                            transaction.session,
                            self._transactions.identity,
                            name=self._transactions.name,
                            mark=self._mark,
                            limit=self._limit + _MARGIN,
                        )
                except BaseException:
                    await self._close(transaction, drop=True)
                    raise
                return transaction
            except Exception as error:
                if not is_away(error):
                    raise translate(error) from error
                tries += 1
                # Said aloud now and then: a library with settings of its own may wait for what nobody else misses.
                log.log(
                    logging.WARNING if tries % _TELLING == 0 else logging.DEBUG,
                    "no transaction for %s (%s), trying again",
                    self._attempt.key,
                    said(error),
                )
            await asyncio.sleep(backoff.delay())

    async def _code(self, transaction: Transaction) -> tuple[str, Turn]:
        attempt, activity = self._attempt, self._attempt.activity
        args, kwargs = activity.parameters.decode(attempt.input)
        assert attempt.executor is not None
        if attempt.executor.lease_end.has_come:
            await attempt.executor.lease_end.put_off()
        attempt.entered()
        run = partial(transaction.run, activity.fn)
        value = await attempt.executor.surroundings.call(attempt, run, (args, kwargs), {})
        text, _ = activity.returns.encode(value)
        output = self._transactions.seal.close(text, what=f"the result of {activity.what}")
        await transaction.flush()
        if attempt.abandoned:
            # Its code has swallowed that.
            raise asyncio.CancelledError
        turn = attempt.ask_turn(Outcome(output, None, _since(attempt)))
        await turn.granted
        return output, turn

    # -- its commit

    async def _commit(self, transaction: Transaction, turn: Turn, output: str) -> None:
        outcome = store.Outcome(turn.owner.run_id, turn.hold, turn.row, output)
        limit = self._transactions.lease / 2
        drop = False
        try:
            self._cut_after(limit, transaction)
            try:
                async with asyncio.timeout(limit):
                    recorded = await store.record(
                        transaction.session, self._transactions.identity, outcome, mark=self._mark
                    )
            except Exception as error:
                await self._refused(transaction, turn, error)
                return
            at: datetime | None = recorded.at
            self._cut_after(limit, transaction)
            try:
                async with asyncio.timeout(limit):
                    if self._transactions.commit is None:
                        await transaction.commit()
                    else:
                        await self._transactions.commit(
                            _unit(turn, output), self._transactions.identity, transaction.commit
                        )
            except WorkerFenced as error:
                drop = True
                self._transactions.fenced(error)
                return
            except Exception as error:
                drop = True
                at = await self._settle(outcome, recorded, error)
                if at is None:
                    self._attempt.finish(self._outcome_of(_not_committed(error)))
            if at is not None:
                self._attempt.finish(Outcome(output, None, _since(self._attempt), recorded=at))
                if recorded.inbox or recorded.due:
                    self._transactions.told(recorded.as_flushed())
            turn.settle(at)
        except BaseException:
            drop = True
            raise
        finally:
            await self._close(transaction, drop=drop)

    async def _refused(self, transaction: Transaction, turn: Turn, error: Exception) -> None:
        """What could not be recorded is not committed: by whom it was refused decides what follows."""
        await self._undo(transaction)
        state = (getattr(error, "sqlstate", None) or "") if isinstance(error, asyncpg.PostgresError) else ""
        if state == "HF001":
            self._transactions.fenced(WorkerFenced(f"{error}; another worker has its runs"))
        elif state in {"HF006", "23505"}:
            if turn.owner.hold == turn.hold:
                turn.owner.lost()
            self._transactions.doubted()
        else:
            self._attempt.finish(self._outcome_of(self._explained(error, state)))
            turn.settle(None)

    async def _settle(self, outcome: store.Outcome, recorded: store.Recorded, error: Exception) -> datetime | None:
        """When it was committed, or None: it never will be."""
        log.warning("the commit of %s is in doubt (%s): asking the database", self._attempt.key, said(error))
        backoff = Backoff(first=0.02, most=1.0)
        link = self._transactions.link
        asked = time.monotonic()
        while True:
            try:
                async with asyncio.timeout(self._transactions.lease / 2), link.session() as session:
                    end = time.monotonic() - asked > _DECISION
                    settled = await store.settle(session, outcome, recorded, end=end)
                if settled.verdict != "open":
                    return settled.at
            except Exception as failure:
                if not link.away(failure):
                    key = self._attempt.key
                    log.warning("what became of %s cannot be asked (%s), trying again", key, said(failure))
                link.discard()
            await asyncio.sleep(backoff.delay())

    # -- its failure

    async def _give_up(self, transaction: Transaction, outcome: Outcome) -> None:
        self._cut_after(_ROLLBACK, transaction)
        if transaction.busy:
            # In a thread, which cannot be stopped. What it has locked must be free for the next attempt.
            await self._end()
            self._attempt.finish(outcome)
            await transaction.rollback()
        else:
            await self._undo(transaction)
            self._attempt.finish(outcome)
        await self._close(transaction)

    async def _undo(self, transaction: Transaction) -> None:
        try:
            async with asyncio.timeout(_ROLLBACK):
                await transaction.rollback()
        except TimeoutError:
            await self._end()

    async def _close(self, transaction: Transaction, *, drop: bool = False) -> None:
        try:
            await transaction.close(drop=drop)
        finally:
            # It is the next one's connection now.
            if self._cutting is not None:
                self._cutting.cancel()

    def _cut_after(self, limit: float, transaction: Transaction) -> None:
        """Its connection is cut a while after this limit: a library may want an answer before it gives up."""
        if self._cutting is not None:
            self._cutting.cancel()
        self._cutting = asyncio.get_running_loop().call_later(limit + _MARGIN, transaction.cut)

    async def _end(self) -> None:
        """Has the server end this transaction."""
        if self._pid is None:
            return
        try:
            async with asyncio.timeout(_ROLLBACK), self._transactions.link.session() as session:
                await store.end_transactions(session, self._transactions.identity, pid=self._pid)
        except Exception as error:
            self._transactions.link.discard()
            log.warning("the transaction of %s could not be ended: %s", self._attempt.key, said(error))

    def _outcome_of(self, error: BaseException, *, timed_out: bool = False) -> Outcome:
        attempt = self._attempt
        if timed_out and attempt.timeout is None:
            limited = ActivityTimedOut(
                attempt.activity.name,
                "TimeoutError",
                f"its transaction was open for longer than {self._limit:g} s, the lease of its worker; "
                "for one that needs longer set timeout=",
            )
            return Outcome(None, limited, _since(attempt), timed_out=True)
        return failed(attempt, error, timed_out=timed_out)

    def _explained(self, error: Exception, state: str) -> BaseException:
        what = self._attempt.activity.what
        if state == "HF012":
            return TransactionEnded(
                f"{what} has ended its transaction by itself: it is committed together with its outcome when the "
                "function returns, and rolled back when it raises; for a part of it use a savepoint"
            )
        if state == "25P02":
            return HoldfastError(
                f"{what} has passed over an error of a statement, after which Postgres commits nothing of its "
                "transaction: use a savepoint around what may fail"
            )
        # Of the user's library, so that the activity's policy knows it.
        return error.__cause__ or error


def _not_committed(error: Exception) -> BaseException:
    if is_away(error):
        refusal = DatabaseUnavailable(f"the connection was lost before the commit, so nothing was done: {said(error)}")
        refusal.__cause__ = error
        return refusal
    return error


def _unit(turn: Turn, output: str) -> Unit:
    """What becomes durable with the commit."""
    if turn.row is None:
        return Unit(turn.owner, end=End(Ending.SUCCEEDED, output, None))
    return Unit(turn.owner, journal=[turn.row])


def _since(attempt: Attempt) -> float:
    return time.monotonic() - attempt.started
