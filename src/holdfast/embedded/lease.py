"""A client's hold on the shared server: as long as it lives, the server does."""

from __future__ import annotations

import json
import os
import socket
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from holdfast.core.errors import EmbeddedError
from holdfast.embedded.door import PROTOCOL

_PAUSE = 0.004


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """What the supervisor says of the server that it runs."""

    supervisor: int
    version: str
    durability: str


class Lease:
    """An open connection to the supervisor. The kernel closes it when this process dies, however it dies.

    A forked child shares its parent's lease: it ends when both are gone.
    """

    def __init__(self, connection: socket.socket, running: Running) -> None:
        self._connection = connection
        self._holder = os.getpid()
        self.running = running

    @property
    def valid(self) -> bool:
        """Whether the supervisor is still there."""
        try:
            return self._connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) != b""
        except BlockingIOError:
            return True
        except OSError:
            return False

    def give_up(self, deadline: float) -> None:
        """Leaves, and returns when that is done: if we are the last, when the server has stopped."""
        with self._connection as connection, suppress(OSError):
            if os.getpid() != self._holder:
                return
            connection.sendall(b'{"say": "leave"}\n')
            _outwait(connection, deadline)


def knock(control: Path, durability: str, deadline: float) -> Lease | None:
    """A lease from the supervisor that is there; None if there is none, or it is just leaving.

    Raises:
        EmbeddedError: It runs a server of another kind.
    """
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(max(0.05, deadline - time.monotonic()))
        _connect(connection, control, deadline)
        connection.sendall(json.dumps({"protocol": PROTOCOL, "durability": durability}).encode() + b"\n")
    except OSError:
        connection.close()
        return None
    return await_ready(connection, deadline)


def _connect(connection: socket.socket, control: Path, deadline: float) -> None:
    while True:
        try:
            return connection.connect(str(control))
        except BlockingIOError:
            # A crowd stands before the door while the supervisor brings the server back.
            if time.monotonic() > deadline:
                raise
        time.sleep(_PAUSE)


def await_ready(connection: socket.socket, deadline: float) -> Lease | None:
    """The lease, once the supervisor at the other end says that the server is ready; None if it went away.

    Raises:
        EmbeddedError: It says why it cannot be, or says nothing in time.
    """
    try:
        message = _receive(connection, deadline)
    except TimeoutError:
        connection.close()
        raise EmbeddedError("the supervisor of the embedded Postgres did not answer in time") from None
    except BaseException:
        connection.close()
        raise
    if message is None:
        connection.close()
        return None
    if message["say"] != "ready":
        _outwait(connection, deadline)
        raise EmbeddedError(message["message"])
    connection.settimeout(None)
    return Lease(
        connection,
        Running(supervisor=message["supervisor"], version=message["version"], durability=message["durability"]),
    )


def _outwait(connection: socket.socket, deadline: float) -> None:
    """Returns when the other end has nothing more to do for us, and closes ours."""
    with connection, suppress(OSError):
        connection.settimeout(max(0.05, deadline - time.monotonic()))
        while connection.recv(64):
            pass


def _receive(connection: socket.socket, deadline: float) -> dict[str, Any] | None:
    text = b""
    while not text.endswith(b"\n"):
        connection.settimeout(max(0.05, deadline - time.monotonic()))
        try:
            part = connection.recv(65536)
        except ConnectionResetError:
            part = b""
        if not part:
            return None
        text += part
    message: dict[str, Any] = json.loads(text)
    return message
