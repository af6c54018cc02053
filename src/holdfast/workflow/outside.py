"""An attempt at an activity whose outcome comes from outside, as far as the journal knows of it."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from holdfast.core.journal import Entry


class Outside(NamedTuple):
    """Of the attempt after the last that has failed."""

    handed_at: datetime | None = None
    """When its code has ended; None: it has not."""
    until: datetime | None = None
    """When its time is over."""
    came: Entry | None = None
    """What has come: the journal's row of kind COMPLETED or FAILED."""
