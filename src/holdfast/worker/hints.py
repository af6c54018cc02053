"""Hints: what comes over the channel, and what is sent after a flush. Without them all is found by polling."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING
from uuid import UUID

from holdfast.store import work
from holdfast.supervise.backoff import Backoff

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from holdfast.store.link import Link
    from holdfast.worker.held import Unit

log = logging.getLogger("holdfast.worker")

_MOST_IDS = 150
"""So many run ids fit into one payload; of more, only that there are some is said."""


class _News:
    """Runs of which there is something to say, for one payload: `end RUN RUN …`, or `end *` where they are too many."""

    def __init__(self, word: str) -> None:
        self._word = word
        self._runs: dict[UUID, None] = {}
        self._many = False

    def add(self, runs: Iterable[UUID]) -> None:
        if not self._many:
            self._runs.update(dict.fromkeys(runs))
            if len(self._runs) > _MOST_IDS:
                self._many = True
                self._runs.clear()

    def take(self) -> list[str]:
        """The payload, if there is one; once."""
        words = ["*"] if self._many else [str(run_id) for run_id in self._runs]
        self._many = False
        self._runs.clear()
        return [" ".join([self._word, *words])] if words else []


class Hints:
    """Sends hints in small commits of their own, coalesced, one under way at a time, errors ignored."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._ended = _News("end")
        self._replied = _News("reply")
        self._lanes: set[str] = set()
        self._buckets: set[int] = set()
        self._wake = asyncio.Event()

    def flushed(self, units: Sequence[Unit]) -> None:
        """These are committed: clients that wait for the ends and answers among them would like to know."""
        if ended := [unit.run_id for unit in units if unit.end is not None]:
            self._ended.add(ended)
            self._wake.set()
        if replied := [unit.run_id for unit in units if unit.replied]:
            self._replied.add(replied)
            self._wake.set()

    def due(self, lane: str) -> None:
        """Runs of this lane are due that other workers may take."""
        self._lanes.add(lane)
        self._wake.set()

    def tell(self, lanes: Iterable[str], buckets: Iterable[int]) -> None:
        """Runs of these lanes are due, and something came for runs that other workers hold in these buckets."""
        self._lanes.update(lanes)
        self._buckets.update(buckets)
        self._wake.set()

    async def run(self) -> None:
        """Keeps the listening connection open, and sends."""
        backoff = Backoff(first=0.2, most=5.0)
        while True:
            try:
                if not self._link.is_open:
                    async with self._link.session():
                        backoff.reset()
                await self._send_when_asked()
            except Exception as error:
                log.debug("hints: %s", error)
                self._link.discard()
                await asyncio.sleep(backoff.delay())

    async def _send_when_asked(self) -> None:
        try:
            async with asyncio.timeout(1.0):
                await self._wake.wait()
        except TimeoutError:
            return
        await self.send()

    async def send(self) -> None:
        """Sends what is waiting to be sent."""
        self._wake.clear()
        payloads = [f"due {lane}" for lane in sorted(self._lanes)]
        self._lanes.clear()
        payloads += [f"inbox {bucket}" for bucket in sorted(self._buckets)]
        self._buckets.clear()
        payloads += self._ended.take() + self._replied.take()
        if payloads:
            async with asyncio.timeout(5.0), self._link.session() as session:
                await work.send_hints(session, payloads)


class Listener:
    """Takes the hints that concern a worker to those who want them."""

    def __init__(
        self,
        *,
        lanes: Iterable[str],
        due: Callable[[], None],
        guests: tuple[str, Callable[[], None]],
        inbox: Callable[[int], None],
        command: Callable[[], None],
        cancel: Callable[[], None],
        heard: Callable[[str], None] | None = None,
    ) -> None:
        self._lanes = frozenset(lanes)
        self._due = due
        self._guest_lane, self._guests = guests
        self._inbox = inbox
        self._command = command
        self._cancel = cancel
        self._heard = heard

    def __call__(self, payload: str) -> None:
        """Handles one payload; one that cannot be understood is ignored: it may be a later version's."""
        word, _, rest = payload.partition(" ")
        if word == "due":
            if rest in self._lanes:
                self._due()
            elif rest == self._guest_lane:
                self._guests()
        elif word == "inbox":
            if rest.isdigit():
                self._inbox(int(rest))
        elif word == "worker":
            self._command()
        elif word == "cancel":
            self._cancel()
        elif self._heard is not None:
            self._heard(payload)
