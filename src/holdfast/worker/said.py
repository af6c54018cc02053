"""What attempts say of themselves by heartbeats, as it is stored."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from holdfast.core.errors import HoldfastError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from holdfast.core.seal import Seal
    from holdfast.store.writes import Beat

log = logging.getLogger("holdfast.worker")


def sealed(details: str | None, seal: Seal) -> str | None:
    """The details as they are stored; None where there are none, or where the codec makes too much of them."""
    if details is None:
        return None
    try:
        return seal.close(details, what="the details of a heartbeat")
    except HoldfastError as refusal:
        log.warning("%s: the next attempt will not get them", refusal)
        return None


def read(beats: Sequence[Beat], seal: Seal) -> dict[str, tuple[int, str]]:
    """What was stored of attempts whose worker has died: their number and details by key."""
    return {beat.key: (beat.attempt, seal.open(beat.details)) for beat in beats if beat.details is not None}
