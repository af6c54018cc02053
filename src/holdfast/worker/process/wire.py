"""What a worker and one of its processes say to each other: JSON objects, each after its length."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

Message = dict[str, Any]

_LENGTH = 4


def packed(message: Message) -> bytes:
    """The bytes of one message."""
    # Ascii: whatever a traceback or a log line holds can be sent.
    body = json.dumps(message, separators=(",", ":")).encode("ascii")
    return len(body).to_bytes(_LENGTH, "big") + body


class Unpacker:
    """Finds the messages in what has been received."""

    def __init__(self) -> None:
        self._received = bytearray()

    def feed(self, data: bytes) -> Iterator[Message]:
        """The messages that are complete with ``data``."""
        received = self._received
        received += data
        begin = 0
        while len(received) - begin >= _LENGTH:
            end = begin + _LENGTH + int.from_bytes(received[begin : begin + _LENGTH], "big")
            if len(received) < end:
                break
            message: Message = json.loads(received[begin + _LENGTH : end])
            begin = end
            yield message
        del received[:begin]
