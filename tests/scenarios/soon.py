"""How long things may take before their test fails."""

from __future__ import annotations

import time
from datetime import timedelta

from holdfast import ActivityInfo

SOON = timedelta(seconds=20)
"""A result."""


def told_to_stop(info: ActivityInfo) -> bool:
    """Waits, in a thread, until the code of an activity is told that its outcome is not wanted any more."""
    over = time.monotonic() + SOON.total_seconds()
    while not info.cancelled:
        if time.monotonic() > over:
            return False
        time.sleep(0.005)  # as the code of a user looks now and then
    return True
