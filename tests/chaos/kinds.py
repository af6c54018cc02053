"""The kinds of runs that the load is made of: how often each comes, what is started, and what it has to give."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.chaos import workload

if TYPE_CHECKING:
    from holdfast.core.definition import Call

HEARD = 4
"""Signals that a run hears that listens."""
ASKED = 3
"""Questions that a run answers that answers."""
SAID_AT_ONCE = 6
"""Signals that a run hears of a crowd."""
PLACES = 5
"""Keys that belong to an open run."""
_LAPS = 4
_ROWS = 8
_CUSTOMERS = 5


class Kind(NamedTuple):
    """A kind of run."""

    share: float
    call: Callable[[int], Call[Any]]
    wanted: Callable[[int], object]
    status: str = "succeeded"
    may_be_cancelled: bool = False
    """Whether it may end as cancelled instead."""
    timeout: timedelta | None = None


def _same(n: int) -> int:
    return n


def _sequence(n: int) -> int:
    return (n + 1) + n * 2 + n


def _fan(n: int) -> int:
    return sum(n + one + 1 for one in range(8)) + 3


def _listens(_: int) -> Call[Any]:
    return workload.listens.call(HEARD)


def _heard(_: int) -> list[int]:
    return list(range(HEARD))


def _hears(_: int) -> Call[Any]:
    return workload.hears.call()


def _answers(_: int) -> Call[Any]:
    return workload.answers.call(ASKED)


def _answered(_: int) -> int:
    return sum(range(ASKED))


def _family(n: int) -> int:
    return sum(n + one + 1 for one in range(4))


def _books(_: int) -> int:
    return 6


def _nothing(_: int) -> None:
    return None


def _marathon(n: int) -> Call[Any]:
    return workload.marathon.call(n, _LAPS)


def _finish(n: int) -> int:
    return n + _LAPS + 1


def _market(n: int) -> int:
    return 3 * (3 * n + 3) + 3


def _limited(n: int) -> Call[Any]:
    return workload.serve.call(n % _CUSTOMERS, n)


def _weight(n: int) -> int:
    return 3 * n


def _next(n: int) -> int:
    return n + 1


def _remind(n: int) -> Call[Any]:
    return workload.remind.call(n % 2, n)


def _drafts(n: int) -> Call[Any]:
    return workload.index.call(n, 0)


def _copy(_: int) -> Call[Any]:
    return workload.copy.call(_ROWS)


def _rows(_: int) -> int:
    return _ROWS


def _seat(n: int) -> Call[Any]:
    return workload.seat.call(n % PLACES)


def _place(n: int) -> int:
    return n % PLACES


def _crowd(_: int) -> Call[Any]:
    return workload.crowd.call(SAID_AT_ONCE)


def _all_of_it(_: int) -> list[int]:
    return list(range(SAID_AT_ONCE))


def _won(n: int) -> int:
    return n + 1 + 1


def _shipped(n: int) -> int:
    return n + 1 + n


def _idle(_: int) -> Call[Any]:
    return workload.idle.call()


KINDS: dict[str, Kind] = {
    "sequence": Kind(24, workload.sequence.call, _sequence),
    "fan": Kind(6, workload.fan.call, _fan),
    "listens": Kind(12, _listens, _heard),
    "hears": Kind(5, _hears, _heard),
    "answers": Kind(6, _answers, _answered),
    "family": Kind(6, workload.family.call, _family),
    "books": Kind(8, workload.books.call, _books),
    "regrets": Kind(6, workload.regrets.call, _nothing, "failed"),
    "marathon": Kind(5, _marathon, _finish),
    "turnstile": Kind(5, workload.turnstile.call, _same),
    "market": Kind(4, workload.market.call, _market),
    "job": Kind(14, workload.shaky.call, _same),
    "shut in": Kind(0.3, workload.shut_in.call, _next),
    "many": Kind(2, workload.leaf.call, _next),
    "limited": Kind(8, _limited, _same),
    "batched": Kind(8, workload.weigh.call, _weight),
    "keyed": Kind(6, workload.sequence.call, _sequence),
    "late": Kind(4, workload.leaf.call, _next),
    "hog": Kind(0.2, workload.hog.call, _same),
    "cancelled": Kind(4, workload.sequence.call, _sequence),
    "paced": Kind(1.5, workload.paced.call, _same),
    "throttled": Kind(1, _remind, _same, may_be_cancelled=True),
    "drafted": Kind(1, _drafts, _same, may_be_cancelled=True),
    "seated": Kind(5, _seat, _place),
    "crowd": Kind(2, _crowd, _all_of_it),
    "race": Kind(3, workload.race.call, _won),
    "copied": Kind(2, _copy, _rows),
    "asked": Kind(3, workload.purchase.call, _same),
    "paused": Kind(3, workload.sequence.call, _sequence),
    "terminated": Kind(2, _idle, _nothing, "cancelled"),
    "overdue": Kind(2, _idle, _nothing, "failed", timeout=timedelta(seconds=1)),
    "retried": Kind(2, workload.ship.call, _shipped),
    "rewound": Kind(2, workload.sequence.call, _sequence),
    "forked": Kind(2, workload.sequence.call, _sequence),
}
"""Of those that are cancelled some end before they are told; then they have to give what they would have given.

Of those that are many several are started at once; of those that are paced, throttled or drafted one after the other.
What one gives that hears depends on which of its signals were acknowledged.
"""
