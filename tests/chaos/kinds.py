"""The kinds of runs that the load is made of: how often each comes, what is started, and what it has to give."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.chaos import workload

if TYPE_CHECKING:
    from holdfast.core.definition import Call

HEARD = 4
"""Signals that a run hears that listens."""
ASKED = 3
"""Questions that a run answers that answers."""
_LAPS = 4
_CUSTOMERS = 5


class Kind(NamedTuple):
    """A kind of run."""

    share: float
    call: Callable[[int], Call[Any]]
    wanted: Callable[[int], object]
    status: str = "succeeded"


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
}
"""Of those that are cancelled some end before they are told; then they have to give what they would have given.

Of those that are many several are started at once. What one gives that hears depends on which of its signals were
acknowledged.
"""
