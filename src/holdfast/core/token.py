"""The token by which an attempt at an activity is completed from outside."""

from __future__ import annotations

import base64
import json
from typing import NamedTuple
from uuid import UUID

from holdfast.core.errors import InvalidInput


class Token(NamedTuple):
    """Names one attempt. Its text is fit for URLs; nobody can guess it who does not know the run's id."""

    run_id: UUID
    attempt: int
    key: str
    """Of the outcome: ``ask#1``."""
    activity: str

    @property
    def text(self) -> str:
        """What is given away."""
        parts = json.dumps([str(self.run_id), self.attempt, self.key, self.activity], separators=(",", ":"))
        return base64.urlsafe_b64encode(parts.encode()).decode().rstrip("=")

    @classmethod
    def parse(cls, text: str) -> Token:
        """The attempt that this text names.

        Raises:
            InvalidInput: it is no token.
        """
        try:
            run_id, attempt, key, activity = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
            token = cls(UUID(run_id), attempt, key, activity)
        except (ValueError, TypeError, AttributeError):
            token = None
        if token is None or token.text != text:
            raise InvalidInput(f"{text!r} is not the token of an activity: that is what activity_info().token gives")
        return token
