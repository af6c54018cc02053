"""The exchange of one line in one client: what is settled goes to the database together with what is received.

A line is that of a queue, or of runs that are driven by hand, which are taken here and settled by themselves.

Idle: what is asked for is sent at once, with all that was asked for in the same turn of the loop. A call under way:
more collects, and is sent when it returns. So a consumer that settles one batch while it asks for the next pays for one
round trip and one commit, and so do a hundred that acknowledge one message each.

A receive that finds nothing rests here, and asks again when it is stirred: by a hint, by the look-out of the client, at
the time when the next message is due.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from holdfast.client.database import closed
from holdfast.client.watermarks import Watermarks
from holdfast.core.errors import HoldfastError
from holdfast.store import queues as store
from holdfast.store import taking
from holdfast.store.connect import is_away, said, translate
from holdfast.store.queues import Settlement, Settling
from holdfast.store.taking import Intake, Taken
from holdfast.supervise.backoff import Backoff

if TYPE_CHECKING:
    from uuid import UUID

    from holdfast.client.database import Database
    from holdfast.client.hinter import Hinter
    from holdfast.core.queue import Lost
    from holdfast.store.taking import Asking

log = logging.getLogger("holdfast.client")

MOST_MESSAGES = 1000
"""So many are received, or settled, with one statement at most."""

_FLOORS_LIMIT = 5.0
_BUSY = "55P03"  # somebody else's transaction has locked the message of one of them


class Delivery(NamedTuple):
    """A message in the hands of this client. Until ``ours_until``, on the monotonic clock, nobody else can have it."""

    taken: Taken
    ours_until: float


class Offer:
    """Settlements that were asked for together."""

    __slots__ = ("answer", "ours_until", "settlements", "tried", "until")

    def __init__(self, settlements: Sequence[Settlement], ours_until: float, until: float) -> None:
        self.settlements = settlements
        self.ours_until = ours_until
        self.until = until
        self.tried = False
        """Whether it was sent before, and may have been committed: its answer was lost."""
        self.answer: asyncio.Future[dict[UUID, Lost]] = asyncio.get_running_loop().create_future()

    def settle(self, lost: dict[UUID, Lost]) -> None:
        """It was sent, and this is what the receipts were worth."""
        found: dict[UUID, Lost] = {}
        if lost:
            mine = {one.receipt.run_id for one in self.settlements}
            found = {run_id: why for run_id, why in lost.items() if run_id in mine}
        if found and self.tried and time.monotonic() < self.ours_until:
            # Nobody else can have had them meanwhile: it was this very call, the first time, that has settled them.
            found = {}
        if not self.answer.done():
            self.answer.set_result(found)


class _Waiter:
    """Somebody who receives."""

    __slots__ = ("answer", "batch", "below", "hands", "patient", "rested", "until", "visibility")

    def __init__(self, batch: int, visibility: timedelta, hands: str | None, until: float) -> None:
        self.batch = batch
        self.visibility = visibility
        self.hands = hands
        self.until = until
        """How long errors of the network are put up with."""
        self.patient = True
        self.below = False
        """Whether it goes away if nothing is found now: so it is looked for below the watermarks too."""
        self.rested = False
        self.answer: asyncio.Future[list[Delivery]] = asyncio.get_running_loop().create_future()


class Exchange:
    """Receives and settles what stands in one line; one call is under way at a time."""

    def __init__(
        self, lane: str, database: Database, hinter: Hinter, *, driven: bool, rests: Callable[[], None]
    ) -> None:
        self.lane = lane
        self._driven = driven
        self._database = database
        self._hinter = hinter
        self._rests = rests
        """Called when somebody begins to rest."""
        self._offers: deque[Offer] = deque()
        self._asked: deque[_Waiter] = deque()
        self._resting: list[_Waiter] = []
        self._pump: asyncio.Task[None] | None = None
        self._alarm: asyncio.TimerHandle | None = None
        self._apart = 0
        self._again = False
        self._closed = False
        self.waiting = 0
        """How many wait for messages to come."""
        self._watermarks = Watermarks()

    async def receive(
        self, batch: int, visibility: timedelta, wait: timedelta, *, hands: str | None = None
    ) -> list[Delivery]:
        """At most ``batch`` as soon as there are any; none where none have come within ``wait``.

        A caller that is cancelled leaves nothing behind: what was taken for it is given back.
        """
        if self._closed:
            raise closed()
        loop = asyncio.get_running_loop()
        waiter = _Waiter(batch, visibility, hands, loop.time() + self._database.patience + wait.total_seconds())
        if wait <= timedelta(0):
            waiter.patient = False
        timer = loop.call_later(wait.total_seconds(), self._expire, waiter)
        self._asked.append(waiter)
        self.waiting += 1
        self._start()
        try:
            return await waiter.answer
        except asyncio.CancelledError:
            self._abandon(waiter)
            raise
        finally:
            self.waiting -= 1
            timer.cancel()

    async def settle(self, settlements: Sequence[Settlement], ours_until: float) -> dict[UUID, Lost]:
        """Settles messages, none of them twice; returns after the commit, with the receipts that were not valid.

        ``ours_until`` is the earliest end of their visibility timeouts. A caller that is cancelled while waiting here
        does not know whether they are settled.
        """
        return await self.offer(settlements, ours_until).answer

    def offer(self, settlements: Sequence[Settlement], ours_until: float) -> Offer:
        """As ``settle``, without waiting for it."""
        if self._closed:
            raise closed()
        offer = Offer(settlements, ours_until, asyncio.get_running_loop().time() + self._database.patience)
        self._offers.append(offer)
        self._start()
        return offer

    def give_back(self, deliveries: Sequence[Delivery]) -> None:
        """Nobody has seen these messages: they are due again, and their delivery does not count."""
        if deliveries and not self._closed:
            back = [Settlement(one.taken.receipt, Settling.RELEASE, timedelta(0), counts=False) for one in deliveries]
            offer = self.offer(back, min(one.ours_until for one in deliveries))
            # Whatever becomes of it: at the end of their visibility timeout they come back by themselves.
            offer.answer.add_done_callback(lambda answer: answer.cancelled() or answer.exception())

    def stir(self) -> None:
        """There may be messages for those who wait."""
        if not self.waiting:
            return
        self._watermarks.owed = True
        # A call that is under way may have looked too early.
        self._again = True
        if self._resting:
            self._asked.extend(self._resting)
            self._resting.clear()
            self._start()

    def stir_in(self, seconds: float) -> None:
        """There will be messages for those who wait, after so long."""
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm = asyncio.get_running_loop().call_later(max(seconds, 0.001), self.stir)

    def give_up(self, error: Callable[[], HoldfastError], cause: Exception | None) -> None:
        """Ends every rest with an error."""
        resting, self._resting = self._resting, []
        for waiter in resting:
            _fail(waiter.answer, error(), cause)

    async def close(self) -> None:
        """Settles what is to be settled, and ends every wait with an error."""
        for waiter in (*self._asked, *self._resting):
            _fail(waiter.answer, closed(), None)
        self._asked.clear()
        self._resting.clear()
        if self._pump is not None:
            await asyncio.wait([self._pump])
        self._closed = True
        if self._alarm is not None:
            self._alarm.cancel()

    # ---- calls, one at a time

    def _start(self) -> None:
        if self._pump is None:
            # A task begins in the next turn of the loop: what others ask for in this one goes along.
            self._pump = asyncio.get_running_loop().create_task(self._call_all(), name=f"holdfast {self.lane}")

    async def _call_all(self) -> None:
        backoff = Backoff()
        offers: list[Offer] = []
        waiters: list[_Waiter] = []
        try:
            while self._offers or self._asked:
                offers = self._take_offers()
                # Runs that are driven by hand are not settled here but given back, now and then.
                waiters = [] if offers and (self._apart or self._driven) else self._take_waiters()
                try:
                    await self._call(offers, waiters)
                    backoff.reset()
                except Exception as error:
                    if self._put_back(error, offers, waiters):
                        await asyncio.sleep(backoff.delay())
                # They are answered, or rest, or stand in line again.
                offers, waiters = [], []
                await self._raise_floors()
        finally:
            self._pump = None
            # Only cancellation leaves anybody without an answer.
            for offer in (*offers, *self._offers):
                _fail(offer.answer, closed(), None)
            for waiter in (*waiters, *self._asked):
                _fail(waiter.answer, closed(), None)
            self._offers.clear()
            self._asked.clear()

    def _take_offers(self) -> list[Offer]:
        offers: list[Offer] = []
        runs: set[UUID] = set()
        while self._offers:
            named = [one.receipt.run_id for one in self._offers[0].settlements]
            # No message twice in one call: an old receipt of it may be among them.
            if offers and (self._apart or len(runs) + len(named) > MOST_MESSAGES or not runs.isdisjoint(named)):
                break
            runs.update(named)
            offers.append(self._offers.popleft())
        return offers

    def _take_waiters(self) -> list[_Waiter]:
        waiters: list[_Waiter] = []
        batch = 0
        while self._asked:
            waiter = self._asked[0]
            if waiters and (
                (waiter.visibility, waiter.hands) != (waiters[0].visibility, waiters[0].hands)
                or batch + waiter.batch > MOST_MESSAGES
            ):
                break
            self._asked.popleft()
            if not waiter.answer.done():
                batch += waiter.batch
                waiters.append(waiter)
        return waiters

    async def _call(self, offers: Sequence[Offer], waiters: Sequence[_Waiter]) -> None:
        settlements = [one for offer in offers for one in offer.settlements]
        if not settlements and not waiters:
            return
        began = time.monotonic()
        self._again = False
        lost: dict[UUID, Lost] = {}
        intake: Intake | None = None
        asking = self._asking(waiters)
        # A try takes a part of the patience only, so that there is some left when a connection hangs.
        async with self._database.raw_session(limit=self._database.patience / 3) as session:
            if asking is None:
                lost = await store.settle(session, self.lane, settlements)
            elif settlements:
                lost, intake = await store.exchange(session, self.lane, settlements, asking)
            else:
                intake = await taking.take(session, self.lane, asking, driven=self._driven)
        self._apart = max(0, self._apart - 1)
        for offer in offers:
            offer.settle(lost)
        if asking is not None and intake is not None:
            self._watermarks.note(asking, intake, began)
            self._deliver(intake, waiters, began, swept=asking.sweep)
        if any(one.how is Settling.RELEASE and not one.span for one in settlements):
            self._hinter.add(f"due {self.lane}")
            self.stir()

    def _asking(self, waiters: Sequence[_Waiter]) -> Asking | None:
        if not waiters:
            return None
        first = waiters[0]
        batch = sum(one.batch for one in waiters)
        below = any(one.below for one in waiters)
        return self._watermarks.asking(batch, first.visibility, hands=first.hands, below=below)

    def _put_back(self, error: Exception, offers: Sequence[Offer], waiters: Sequence[_Waiter]) -> bool:
        """A call has failed: who may try again does, the others are told. Says whether to pause before."""
        now = asyncio.get_running_loop().time()
        away = is_away(error)
        mixed = len(offers) + bool(waiters) > 1
        for offer in reversed(offers):
            offer.tried = True
            if (away and offer.until > now) or (mixed and not away):
                self._offers.appendleft(offer)
            else:
                _fail(offer.answer, translate(error, self._database.dsn), error)
        for waiter in reversed(waiters):
            if (away and waiter.until > now) or (mixed and not away):
                self._asked.appendleft(waiter)
            else:
                _fail(waiter.answer, translate(error, self._database.dsn), error)
        if mixed and (not away or getattr(error, "sqlstate", None) == _BUSY):
            # Each for itself, so that nobody suffers from another's.
            self._apart = len(offers)
            return False
        return away

    def _deliver(self, intake: Intake, waiters: Sequence[_Waiter], began: float, *, swept: bool) -> None:
        place = 0
        for waiter in waiters:
            some = [
                Delivery(taken, began + waiter.visibility.total_seconds())
                for taken in intake.taken[place : place + waiter.batch]
            ]
            place += len(some)
            if waiter.answer.done():
                self.give_back(some)
            elif some:
                waiter.answer.set_result(some)
            elif intake.full:
                # What there was has become dead letters; behind them there may be more.
                self._asked.append(waiter)
            elif not waiter.patient and (swept or waiter.rested or intake.paused):
                waiter.answer.set_result([])
            elif not waiter.patient:
                waiter.below = True
                self._asked.append(waiter)
            else:
                self._rest(waiter)
        if self._resting and self._again:
            self.stir()
        elif self._resting:
            # When to look again, if it is known that there will be something.
            times = [] if intake.next_due is None else [(intake.next_due - intake.at).total_seconds()]
            if self._watermarks.owed:
                times.append(self._watermarks.sweeps_in)
            if times:
                self.stir_in(min(times))

    def _rest(self, waiter: _Waiter) -> None:
        self._resting.append(waiter)
        if not waiter.rested:
            # Once for each: the look-out goes on looking for as long as it waits.
            waiter.rested = True
            self._rests()

    def _expire(self, waiter: _Waiter) -> None:
        waiter.patient = False
        if waiter in self._resting:
            self._resting.remove(waiter)
            waiter.answer.set_result([])

    def _abandon(self, waiter: _Waiter) -> None:
        for line in (self._asked, self._resting):
            with suppress(ValueError):
                line.remove(waiter)
        if waiter.answer.done() and not waiter.answer.cancelled() and waiter.answer.exception() is None:
            self.give_back(waiter.answer.result())

    async def _raise_floors(self) -> None:
        if not self._watermarks.floors_are_due():
            return
        try:
            async with self._database.raw_session(limit=_FLOORS_LIMIT) as session:
                await taking.raise_floors(session, self.lane)
        except Exception as error:
            log.debug("the floors of %s could not be raised: %s", self.lane, said(error))


def _fail(answer: asyncio.Future[Any], error: HoldfastError, cause: Exception | None) -> None:
    if not answer.done():
        error.__cause__ = cause
        answer.set_exception(error)
