"""What is done to JSON text at the border to the database: the size limit, and the user's codec."""

from __future__ import annotations

import base64
import json
from typing import Protocol, cast

from holdfast.core.errors import ConfigurationError, Unreadable, Unstorable

_MARK = "holdfast:codec"
_VERSION = 1
_LOOK = 64
"""The mark is the first key of a sealed text, so it is found within this many characters."""


class Codec(Protocol):
    """Turns the bytes of a payload into those that are stored, and back: encryption, compression."""

    def encode(self, data: bytes) -> bytes:
        """What is stored for ``data``."""
        ...

    def decode(self, data: bytes) -> bytes:
        """What :meth:`encode` was given, from what it returned."""
        ...


class Seal:
    """Closes JSON text for the database and opens it again, with ``codec``; at most ``limit`` bytes are stored."""

    def __init__(self, codec: Codec | None = None, limit: int = 131072) -> None:
        if limit < 1:
            raise ConfigurationError(f"payload_limit is {limit}: use a number of bytes of 1 or more")
        self._codec = codec
        self.limit = limit

    @property
    def seals(self) -> bool:
        """Whether there is a codec: then the database cannot read what is stored."""
        return self._codec is not None

    def close(self, text: str, *, what: str) -> str:
        """The text to store for ``text``.

        Raises:
            Unstorable: it is larger than the limit, or the codec failed; ``what`` names it in the message.
        """
        if self._codec is not None:
            text = self._encoded(text, self._codec, what)
        elif _MARK in text[:_LOOK] and _sealed(text) is not None:
            raise Unstorable(f"{what} has the key {_MARK!r}, which marks what a codec has written; use another key")
        self.measure(text, what=what)
        return text

    def measure(self, text: str, *, what: str) -> None:
        """Refuses text that is too large to be stored as it is.

        Raises:
            Unstorable: it is.
        """
        # No character is longer than four bytes in UTF-8, so most texts need not be encoded to be measured.
        if len(text) * 4 > self.limit and (size := len(text.encode())) > self.limit:
            raise Unstorable(
                f"{what} is {size:,} bytes as it is stored, and at most {self.limit:,} are (payload_limit); "
                "store it elsewhere and pass a reference, or raise the limit"
            )

    def open(self, text: str) -> str:
        """The text that was given to :meth:`close`. What was stored without a codec stays as it is.

        Raises:
            Unreadable: it was written with a codec, and this process has none, or one that cannot read it.
        """
        if _MARK not in text[:_LOOK] or (data := _sealed(text)) is None:
            return text
        if self._codec is None:
            raise Unreadable("a payload was written with a codec, and this process has none; give the app its codec=")
        try:
            return self._codec.decode(base64.b64decode(data, validate=True)).decode()
        except Exception as error:
            raise Unreadable(
                f"the codec {type(self._codec).__name__} cannot read a payload: {type(error).__name__}: {error}; "
                "does this process have the key or version that it was written with?"
            ) from error

    def _encoded(self, text: str, codec: Codec, what: str) -> str:
        try:
            data = base64.b64encode(codec.encode(text.encode())).decode()
        except Exception as error:
            raise Unstorable(
                f"the codec {type(codec).__name__} failed on {what}: {type(error).__name__}: {error}"
            ) from error
        return f'{{"{_MARK}":{_VERSION},"data":"{data}"}}'


def _sealed(text: str) -> str | None:
    """What the codec wrote, or None if ``text`` is not sealed."""
    try:
        value: object = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict):
        return None
    sealed = cast("dict[str, object]", value)
    data = sealed.get("data")
    return data if sealed.get(_MARK) == _VERSION and isinstance(data, str) else None
