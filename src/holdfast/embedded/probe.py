"""A real connection to the server, spoken by hand: the only proof that it takes them."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable
from pathlib import Path

from holdfast.core.errors import EmbeddedError

_PROTOCOL = 196608  # 3.0
_PAUSE = 0.003

# Starting up, recovering or shutting down: it passes.
_CANNOT_CONNECT_NOW = "57P03"
# A server that has given all its connections away is ready; that we get none is for who wants one to say.
_TOO_MANY_CONNECTIONS = "53300"


def probe(socket_path: Path, user: str, database: str, deadline: float, *, hope: Callable[[], bool]) -> bool:
    """Connects until the server is ready for queries; False as soon as there is no ``hope`` for that any more.

    Raises:
        EmbeddedError: It refused this user, or was not ready at ``deadline`` of the monotonic clock.
    """
    while True:
        try:
            _connect(socket_path, user, database, deadline)
        except (OSError, _NotYetError) as error:
            if not hope():
                return False
            if time.monotonic() > deadline:
                raise EmbeddedError(f"the embedded Postgres takes no connections on {socket_path}: {error}") from error
        else:
            return True
        time.sleep(_PAUSE)


class _NotYetError(Exception):
    pass


def _connect(socket_path: Path, user: str, database: str, deadline: float) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(max(0.05, deadline - time.monotonic()))
        connection.connect(str(socket_path))
        words = b"".join(word.encode() + b"\0" for word in ("user", user, "database", database)) + b"\0"
        connection.sendall(struct.pack("!ii", 8 + len(words), _PROTOCOL) + words)
        while True:
            kind, body = _receive(connection)
            if kind == b"E":
                _refuse(body)
                return
            if kind == b"R" and struct.unpack("!i", body[:4])[0] != 0:
                raise EmbeddedError(f"the embedded Postgres asks {user!r} for a password on {socket_path}")
            if kind == b"Z":
                connection.sendall(b"X\0\0\0\4")
                return


def _receive(connection: socket.socket) -> tuple[bytes, bytes]:
    header = _exactly(connection, 5)
    (length,) = struct.unpack("!i", header[1:])
    return header[:1], _exactly(connection, length - 4)


def _exactly(connection: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        part = connection.recv(count - len(data))
        if not part:
            raise ConnectionResetError("the server closed the connection")
        data += part
    return data


def _refuse(body: bytes) -> None:
    fields = {part[:1]: part[1:].decode(errors="replace") for part in body.split(b"\0") if part}
    code = fields.get(b"C", "no code")
    message = f"{fields.get(b'M', 'no message')} ({code})"
    if code == _CANNOT_CONNECT_NOW:
        raise _NotYetError(message)
    if code != _TOO_MANY_CONNECTIONS:
        raise EmbeddedError(f"the embedded Postgres refused the connection: {message}")
