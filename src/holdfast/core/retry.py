"""Whether a failed attempt is followed by another one, and when."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import cast

from holdfast.core.errors import ConfigurationError, GiveUp, InvalidInput, RetryAfter, TransactionEnded, Unstorable

_PERMANENT = (GiveUp, InvalidInput, TransactionEnded, Unstorable)


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """How often an activity is tried, and how long it rests in between.

    The rest after attempt n is ``initial × factor^(n-1)``, at most ``maximum``, and is then moved by up to the share
    ``jitter`` in either direction. An error is retried if it is one of ``retry_on`` and none of ``give_up_on``.
    ``max_attempts=None`` means: for ever.
    """

    max_attempts: int | None = 4
    initial: timedelta = timedelta(seconds=1)
    factor: float = 2.0
    maximum: timedelta = timedelta(seconds=60)
    jitter: float = 0.1
    retry_on: tuple[type[Exception], ...] = (Exception,)
    give_up_on: tuple[type[Exception], ...] = ()

    def __post_init__(self) -> None:
        mistakes = tuple(self._mistakes())
        if mistakes:
            raise ConfigurationError(*mistakes)

    def decide(self, error: BaseException, attempt: int, jitter: float) -> timedelta | None:
        """The rest before the next attempt, or None: there is none.

        ``attempt`` is the number of the attempt that failed, from 1; ``jitter`` is a random number in 0..1, drawn by
        the caller. ``RetryAfter`` sets the rest itself, but no attempt beyond ``max_attempts``.
        """
        if self.max_attempts is not None and attempt >= self.max_attempts:
            return None
        if isinstance(error, RetryAfter):
            return error.delay
        if isinstance(error, (*_PERMANENT, *self.give_up_on)) or not isinstance(error, self.retry_on):
            return None
        return self._jittered(self._rest(attempt), jitter)

    def _rest(self, attempt: int) -> timedelta:
        try:
            seconds = self.initial.total_seconds() * self.factor ** (attempt - 1)
        except OverflowError:
            return self.maximum if self.initial else timedelta(0)
        # Compared as numbers: a timedelta of 10^300 seconds does not exist. `nan` is 0 × infinity.
        if math.isnan(seconds) or seconds < self.maximum.total_seconds():
            return timedelta(0) if math.isnan(seconds) else timedelta(seconds=seconds)
        return self.maximum

    def _jittered(self, rest: timedelta, jitter: float) -> timedelta:
        share = self.jitter * (2 * min(max(jitter, 0.0), 1.0) - 1)
        try:
            return rest + rest * share
        except OverflowError:
            return timedelta.max

    def _mistakes(self) -> Iterator[str]:
        if self.max_attempts is not None and not _is_count(self.max_attempts):
            yield f"max_attempts is {self.max_attempts!r}: use a whole number of 1 or more, or None for no limit"
        rests = {"initial": self.initial, "maximum": self.maximum}
        wrong = [name for name, rest in rests.items() if not _is_duration(rest)]
        for name in wrong:
            yield f"{name} is {rests[name]!r}: use a timedelta of zero or more"
        if not wrong and self.initial > self.maximum:
            yield f"initial ({self.initial}) is longer than maximum ({self.maximum}): raise maximum="
        if not _is_number(self.factor) or not 1 <= self.factor < math.inf:
            yield f"factor is {self.factor!r}: use a number of 1 or more"
        if not _is_number(self.jitter) or not 0 <= self.jitter <= 1:
            yield f"jitter is {self.jitter!r}: use a share from 0 to 1"
        for name, classes in {"retry_on": self.retry_on, "give_up_on": self.give_up_on}.items():
            if not _are_exceptions(classes):
                yield f"{name} is {classes!r}: use a tuple of exception classes"


# What the annotations promise is checked all the same: options come from settings and from untyped code too.


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _is_duration(value: object) -> bool:
    return isinstance(value, timedelta) and value >= timedelta(0)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _are_exceptions(value: object) -> bool:
    if not isinstance(value, tuple):
        return False
    return all(isinstance(item, type) and issubclass(item, Exception) for item in cast("tuple[object, ...]", value))
