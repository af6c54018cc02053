"""A failure that was noted elsewhere, as something that was raised: for the policy that decides what follows."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from holdfast.core.errors import ActivityFailed, RetryAfter
from holdfast.core.remake import loaded

if TYPE_CHECKING:
    from holdfast.core.failure import Failure


def as_raised(failure: Failure, bases: Sequence[str] = (), retry_after: float | None = None) -> Exception:
    """An exception of the class that was raised, or of the first of ``bases`` that this process has loaded.

    It is only looked at for its class: what is recorded and raised again is the failure.
    """
    for name in (failure.type, *bases):
        kind = loaded(name)
        if kind is None:
            continue
        if issubclass(kind, RetryAfter):
            return RetryAfter(timedelta(seconds=retry_after or 0.0), failure.message)
        try:
            # Not called: what it wants to be made of is not known, and nobody will see it.
            return kind.__new__(kind)
        except Exception:  # noqa: S112 - a class may refuse to be made in any way; then the next one has to do
            continue
    return ActivityFailed("", failure.type, failure.message)
