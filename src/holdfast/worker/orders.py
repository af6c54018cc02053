"""What is asked of a worker from outside, and how it obeys: pause, resume, drain, stop."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from holdfast.core.worker_state import Wish, WorkerState

if TYPE_CHECKING:
    from holdfast.worker.claimer import Claimer
    from holdfast.worker.heartbeat import Heartbeat
    from holdfast.worker.holdings import Holdings
    from holdfast.worker.stop import Stop

log = logging.getLogger("holdfast.worker")


class Orders:
    """The orders of one tenure. They come with the answers to its heartbeats, and it says there that it has obeyed."""

    heartbeat: Heartbeat
    claimer: Claimer
    """These are there before anything is asked."""

    def __init__(self, name: str, stop: Stop, holdings: Holdings, *, paused: bool) -> None:
        self._name = name
        self._stop = stop
        self._holdings = holdings
        self.paused = holdings.paused = paused

    @property
    def state(self) -> WorkerState:
        """How the worker stands."""
        if self._stop.asked.is_set():
            return WorkerState.DRAINING if self._stop.patient else WorkerState.STOPPING
        return WorkerState.PAUSED if self.paused else WorkerState.ACTIVE

    def obey(self, command: str | None) -> None:
        """Does what is asked for now; the same again changes nothing."""
        wish = Wish(command or Wish.RESUME)
        log.info("worker %s: %s", self._name, wish)
        match wish:
            case Wish.PAUSE | Wish.RESUME if self._stop.asked.is_set():
                pass
            case Wish.PAUSE:
                self._pause()
            case Wish.RESUME:
                self._resume()
            case Wish.DRAIN:
                self._stop.drain()
            case Wish.STOP:
                self._stop.end()
            case Wish.STOP_NOW:
                self._stop.hurry()
        self.report()

    def report(self) -> None:
        """Says how the worker stands."""
        self.heartbeat.report(self.state)

    def _pause(self) -> None:
        self.paused = True
        self.claimer.paused = True
        self._holdings.pause()

    def _resume(self) -> None:
        self.paused = False
        self.claimer.paused = False
        self._holdings.paused = False
        self.claimer.hint()
