"""A process that uses the embedded Postgres and does what it reads, one JSON object a line.

Arguments: the folder of the holdfast package, and the settings as JSON. It needs nothing but the standard library, so
it runs with any Python that another user can reach.
"""

import json
import os
import signal
import socket
import struct
import sys
import types
from datetime import timedelta
from pathlib import Path
from typing import Any

source = Path(sys.argv[1])
for name in ("holdfast", "holdfast.core"):
    package = types.ModuleType(name)
    package.__path__ = [str(source / name.removeprefix("holdfast").removeprefix("."))]
    sys.modules[name] = package

from holdfast.core.errors import EmbeddedError  # noqa: E402
from holdfast.embedded import EmbeddedPostgres, EmbeddedSettings  # noqa: E402


def settings_of(words: dict[str, Any]) -> EmbeddedSettings:
    for path in ("data_dir", "bin_dir"):
        if words.get(path):
            words[path] = Path(words[path])
    for duration in ("start_timeout", "stop_timeout"):
        if duration in words:
            words[duration] = timedelta(seconds=words[duration])
    return EmbeddedSettings(**words)


def query(server: EmbeddedPostgres, sql: str) -> list[str | None]:
    """The first column of what a simple query returns."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(server.describe().socket_dir / ".s.PGSQL.5432"))
        words = b"user\0postgres\0database\0postgres\0\0"
        connection.sendall(struct.pack("!ii", 8 + len(words), 196608) + words)
        text = sql.encode() + b"\0"
        connection.sendall(b"Q" + struct.pack("!i", 4 + len(text)) + text)
        stream = connection.makefile("rb")
        values: list[str | None] = []
        ends = 0
        while ends < 2:
            header = stream.read(5)
            if not header:
                raise ConnectionResetError("the server is gone")
            body = stream.read(struct.unpack("!i", header[1:])[0] - 4)
            if header[:1] == b"E":
                raise RuntimeError(body.replace(b"\0", b" ").decode())
            if header[:1] == b"D":
                (length,) = struct.unpack("!i", body[2:6])
                values.append(None if length < 0 else body[6 : 6 + length].decode())
            ends += header[:1] == b"Z"
        return values


def obey(server: EmbeddedPostgres, order: dict[str, Any]) -> object:
    match order:
        case {"do": "start"}:
            server.start()
        case {"do": "stop"}:
            server.stop()
        case {"do": "ensure"}:
            server.ensure()
        case {"do": "query", "sql": sql}:
            return query(server, sql)
        case {"do": "churn", "times": times}:
            for _ in range(times):
                with server:
                    query(server, "select 1")
        case {"do": "fork", "stop": stops}:
            child = os.fork()
            if child == 0:
                if stops:
                    server.stop()
                while True:
                    signal.pause()
            return child
        case {"do": "describe"}:
            description = server.describe()
            return {
                field: str(value) if isinstance(value := getattr(description, field), Path) else value
                for field in description.__slots__
            }
        case _:
            raise ValueError(order)
    return None


def main() -> None:
    server = EmbeddedPostgres(settings_of(json.loads(sys.argv[2])))
    for line in sys.stdin:
        try:
            answer = {"value": obey(server, json.loads(line))}
        except (EmbeddedError, OSError, RuntimeError) as error:
            answer = {"error": type(error).__name__, "message": str(error)}
        print(json.dumps(answer), flush=True)


main()
