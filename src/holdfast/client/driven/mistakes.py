"""What is wrong with what is said to a consumer, a run or a step; it comes from untyped code too."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta

from holdfast.client.options import lane_mistakes
from holdfast.core.errors import InvalidInput

MOST = 1000
"""So many runs are taken by one statement at most."""
_SHORTEST, _LONGEST = timedelta(seconds=1), timedelta(days=1)
_LONGEST_NAME = 200
_LONGEST_SPAN = timedelta(days=365_000)


def refuse(what: str, *mistakes: Iterable[str]) -> None:
    """Raises InvalidInput if there are any."""
    found = [one for some in mistakes for one in some]
    if found:
        raise InvalidInput(f"{what}: {'; '.join(found)}")


def consumer_mistakes(name: object, lane: object, visibility: object) -> Iterator[str]:
    """What is wrong with the options of a consumer."""
    if name is not None and not (isinstance(name, str) and 1 <= len(name) <= _LONGEST_NAME and name.isprintable()):
        yield f"name is {name!r}: use 1 to {_LONGEST_NAME} printable characters"
    yield from lane_mistakes(lane)
    if not isinstance(visibility, timedelta) or not _SHORTEST <= visibility <= _LONGEST:
        yield f"visibility is {visibility!r}: use a timedelta from one second to one day"


def batch_mistakes(batch_size: object) -> Iterator[str]:
    """What is wrong with the number of runs that are asked for."""
    if not isinstance(batch_size, int) or not 1 <= batch_size <= MOST:
        yield f"batch_size is {batch_size!r}: use 1 to {MOST}"


def span_mistakes(name: str, span: object) -> Iterator[str]:
    """What is wrong with a while, if one is given."""
    if span is not None and (not isinstance(span, timedelta) or not timedelta(0) <= span <= _LONGEST_SPAN):
        yield f"{name} is {span!r}: use a timedelta of zero or more, and at most {_LONGEST_SPAN.days:,} days"


def moment_mistakes(name: str, moment: object) -> Iterator[str]:
    """What is wrong with a time, if one is given."""
    if moment is not None and (not isinstance(moment, datetime) or moment.utcoffset() is None):
        yield f"{name} is {moment!r}: use datetime.now(timezone.utc) or another aware one"
