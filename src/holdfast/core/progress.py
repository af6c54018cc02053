"""How far an attempt is: what its code reports, and what others see of it."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from holdfast.core.errors import InvalidInput

LONGEST_MESSAGE = 500
"""Characters of a message that are kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far an attempt that is under way has come, as its code has reported it last."""

    fraction: float | None
    """From 0 to 1; None where the code does not know it."""
    message: str | None
    key: str
    """Of the step: ``send_email#1``."""
    attempt: int
    """From 1."""
    at: datetime
    """When it was stored."""


def progress_text(fraction: object, message: object) -> str:
    """A report as it is stored.

    Raises:
        InvalidInput: the fraction is not one, or the message no text.
    """
    if isinstance(fraction, bool) or not isinstance(fraction, int | float | None):
        raise InvalidInput(f"progress is {fraction!r}: use a number from 0 to 1, or None where it is not known")
    if fraction is not None and not (math.isfinite(fraction) and 0 <= fraction <= 1):
        raise InvalidInput(f"progress is {fraction!r}: use a number from 0 to 1")
    if message is not None and not isinstance(message, str):
        raise InvalidInput(f"the message of a progress is {message!r}: use text")
    if message is not None:
        # Half of a character cannot be stored, and nobody wants an activity to fail for that.
        message = message.encode("utf-8", "replace").decode()
        message = message if len(message) <= LONGEST_MESSAGE else f"{message[: LONGEST_MESSAGE - 1]}…"
    fields = {"fraction": None if fraction is None else float(fraction), "message": message}
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":"))


def read_progress(text: str, *, key: str, attempt: int, at: datetime) -> Progress:
    """The report that was stored as ``text``."""
    fields: dict[str, Any] = json.loads(text)
    return Progress(fraction=fields["fraction"], message=fields["message"], key=key, attempt=attempt, at=at)
