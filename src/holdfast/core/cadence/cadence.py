"""A cadence: what a schedule's times are, however they were written."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeAlias
from uuid import UUID

from holdfast.core.cadence.cron import Cron, read_cron
from holdfast.core.cadence.every import EPOCH, Every
from holdfast.core.cadence.phrase import read_phrase
from holdfast.core.cadence.zone import find_zone
from holdfast.core.errors import InvalidSchedule

Cadence: TypeAlias = Cron | Every

_ZONE = re.compile(r"\s+in\s+(\S+)\s*$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """The time in which ticks count: from ``start`` on, and before ``end``."""

    start: datetime | None = None
    end: datetime | None = None

    def after(self, cadence: Cadence, moment: datetime) -> datetime | None:
        """The first tick of the cadence in this span that is later than ``moment``."""
        try:
            return self._after(cadence, moment)
        except OverflowError:
            # The calendar ends.
            return None

    def _after(self, cadence: Cadence, moment: datetime) -> datetime | None:
        tick = cadence.after(moment)
        if self.start is not None and tick is not None and tick < self.start:
            # The start itself may be a tick.
            tick = cadence.after(self.start - timedelta(microseconds=1))
        return None if tick is None or (self.end is not None and tick >= self.end) else tick

    def until(self, cadence: Cadence, moment: datetime) -> datetime | None:
        """The last tick of the cadence in this span that is not later than ``moment``."""
        if self.end is not None and moment >= self.end:
            moment = self.end - timedelta(microseconds=1)
        tick = cadence.until(moment)
        return None if tick is None or (self.start is not None and tick < self.start) else tick


def read_cadence(
    when: str | None = None,
    *,
    every: timedelta | None = None,
    tz: str | None = None,
    start: datetime | None = None,
) -> Cadence:
    """What is meant: a cron expression or readable text in ``when``, or an interval in ``every``.

    Text that begins with a digit, ``*`` or ``@`` is a cron expression, perhaps with ``in ZONE`` behind it. Without
    ``tz``, and without a zone in the text, it goes by UTC. An interval counts from
    ``start``, or else from the beginning of 1970.

    Raises:
        InvalidSchedule: it cannot be read, or never comes; the message says what is wrong, and where.
    """
    if every is not None:
        if when is not None:
            raise InvalidSchedule(str(when), 0, "give a text or every=, not both")
        if tz is not None:
            raise InvalidSchedule(f"every {every}", 0, "every= counts real time: tz= changes nothing about it; drop it")
        return Every(every, EPOCH if start is None else start)
    if not isinstance(when, str) or not when.strip():  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidSchedule(
            "" if when is None else str(when),
            0,
            "say when: '0 18 * * mon-fri', 'every weekday at 18:00', or every=timedelta(minutes=30)",
        )
    if tz is not None:
        try:
            find_zone(tz)
        except ValueError as error:
            raise InvalidSchedule(when, 0, f"tz={tz!r}: {error}") from None
    if when.lstrip()[0] in "0123456789*@":
        return _read_zoned(when, tz)
    return read_phrase(when, tz, EPOCH if start is None else start)


def _read_zoned(text: str, tz: str | None) -> Cron:
    found = _ZONE.search(text)
    if found is None:
        return read_cron(text, tz or "UTC")
    if tz is not None and tz != found[1]:
        raise InvalidSchedule(text, found.start(1), f"the text says {found[1]}, and tz= says {tz}: give one of them")
    try:
        find_zone(found[1])
    except ValueError as error:
        raise InvalidSchedule(text, found.start(1), str(error)) from None
    return read_cron(text[: found.start()], found[1])


def next_ticks(cadence: Cadence, moment: datetime, span: Span = Span()) -> Iterator[datetime]:
    """The ticks later than ``moment``, in order, without end if there is none."""
    while (tick := span.after(cadence, moment)) is not None:
        yield tick
        moment = tick


def jitter_of(schedule: UUID, tick: datetime, most: timedelta) -> timedelta:
    """How much later than the tick its run is due: the same whoever asks, evenly spread from nothing to ``most``."""
    digest = hashlib.blake2b(f"{schedule} {tick.timestamp()}".encode(), digest_size=4).digest()
    return most * (int.from_bytes(digest) / 2**32)
