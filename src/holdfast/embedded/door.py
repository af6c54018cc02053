"""The supervisor's door: the socket on which clients come, hold their lease, and go.

A client is present as long as its connection is open. The kernel closes it when its last process dies.
"""

from __future__ import annotations

import json
import selectors
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROTOCOL = 1

_LONGEST_MESSAGE = 4096


@dataclass(slots=True, eq=False)
class Guest:
    """One client's connection."""

    connection: socket.socket
    heard: bytes = b""
    greeted: bool = False
    leaving: bool = False

    def tell(self, message: dict[str, Any]) -> None:
        """Sends one message; a guest who is gone does not hear it."""
        with suppress(OSError):
            self.connection.send(json.dumps(message).encode() + b"\n")


class Door:
    """The listening socket and the guests that came through it.

    ``greet`` answers a guest's first message: what to tell it, and whether it may stay.
    """

    def __init__(self, path: Path, selector: selectors.BaseSelector, greet: Callable[[dict[str, Any]], Answer]) -> None:
        self._path = path
        self._selector = selector
        self._greet = greet
        self.guests: set[Guest] = set()
        path.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(path))
        self._listener.listen(128)
        self._listener.setblocking(False)  # noqa: FBT003 - the name of the method says it
        selector.register(self._listener, selectors.EVENT_READ, self._let_in)

    @property
    def occupied(self) -> bool:
        """Whether anybody is here who has not said that it leaves."""
        return any(not guest.leaving for guest in self.guests)

    def welcome(self, guest: Guest) -> None:
        """Takes a guest in."""
        guest.connection.setblocking(False)  # noqa: FBT003 - the name of the method says it
        self.guests.add(guest)
        self._selector.register(guest.connection, selectors.EVENT_READ, lambda: self._hear(guest))

    def dismiss_leaving(self) -> None:
        """Lets those go who wait for the end, since others stay and it does not come."""
        if self.occupied:
            for guest in [guest for guest in self.guests if guest.leaving]:
                self._see_off(guest)

    def shut(self) -> None:
        """Lets nobody in any more. Who stands outside finds no door, and starts a server of its own."""
        self._selector.unregister(self._listener)
        self._path.unlink(missing_ok=True)
        self._listener.close()

    def _let_in(self) -> None:
        with suppress(OSError):
            connection, _ = self._listener.accept()
            self.welcome(Guest(connection))

    def _hear(self, guest: Guest) -> None:
        try:
            part = guest.connection.recv(_LONGEST_MESSAGE)
        except BlockingIOError:
            return
        except OSError:
            part = b""
        guest.heard += part
        if not part or len(guest.heard) > _LONGEST_MESSAGE:
            self._see_off(guest)
            return
        while b"\n" in guest.heard:
            line, guest.heard = guest.heard.split(b"\n", 1)
            self._answer(guest, line)

    def _answer(self, guest: Guest, line: bytes) -> None:
        try:
            message: dict[str, Any] = json.loads(line)
        except ValueError:
            self._see_off(guest)
            return
        if message.get("say") == "leave":
            guest.leaving = True
            return
        answer = self._greet(message)
        guest.greeted = True
        guest.tell(answer.message)
        if not answer.stays:
            self._see_off(guest)

    def _see_off(self, guest: Guest) -> None:
        if guest in self.guests:
            self.guests.discard(guest)
            self._selector.unregister(guest.connection)
            guest.connection.close()


@dataclass(frozen=True, slots=True)
class Answer:
    """What a guest is told, and whether it stays."""

    message: dict[str, Any]
    stays: bool
