"""What is started in a simulation, each with what it has to come to."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from enum import Enum
from typing import Any, NamedTuple

from holdfast import Key
from holdfast.core.definition import Call
from tests.simulation import repertoire

QUEUE = "mail"
MESSAGE = "message"
"""What is sent in the place of a run."""
CLOCK = "clock"
"""A schedule, which starts runs by itself."""


def _none(_: int) -> int:
    return 0


def _no_key(_: int) -> str | Key | None:
    return None


def _key(n: int) -> str | Key | None:
    return f"order:{n}"


def _key_while_open(n: int) -> str | Key | None:
    return Key(f"open:{n % 3}", window="open")


def _key_for_a_second(n: int) -> str | Key | None:
    return Key(f"second:{n % 3}", window=timedelta(seconds=1))


DRIVEN = "driven"
"""A run that is driven by hand."""


class Operated(Enum):
    """What somebody does to a run that was started."""

    CANCELLED = "cancelled"
    TERMINATED = "terminated"
    PAUSED = "paused for a while"
    HURRIED = "woken from its sleeps"
    ANSWERED = "completed from outside"
    MENDED = "retried, when it has failed"
    REWOUND = "rewound, when it has ended"
    FORKED = "forked, when it has ended"


class Program(NamedTuple):
    """What is started, and what it has to come to."""

    call: Callable[[int], Call[Any]] | None
    """None: it is triggered by its name."""
    wanted: Callable[[int], object]
    status: str = "succeeded"
    or_else: str | None = None
    """As what it may end too: it may be faster than what is done to it."""
    signals: Callable[[int], int] = _none
    questions: Callable[[int], int] = _none
    operated: Operated | None = None
    key: Callable[[int], str | Key | None] = _no_key
    after: timedelta | None = None
    timeout: timedelta | None = None
    times: int = 1
    """How often it is started."""


def _same(n: int) -> object:
    return n


def _next(n: int) -> object:
    return n + 1


def _after_steps(n: int) -> object:
    return n + 2 + n % 3


def _fanned(n: int) -> object:
    return [n + 1, n + 2, n + 3, n + 4, n]


def _three(n: int) -> object:
    return [n + 1, n + 2, n + 3]


def _words(n: int) -> int:
    return 1 + n % 4


def _few_words(n: int) -> int:
    return 1 + n % 3


def _heard(n: int) -> object:
    return list(range(_words(n)))


def _few_heard(n: int) -> object:
    return list(range(_few_words(n)))


def _asked(n: int) -> object:
    return sum(range(_few_words(n)))


def _answers(n: int) -> Call[Any]:
    return repertoire.answers.call(_few_words(n))


def _one_of_three(n: int) -> Call[Any]:
    return repertoire.long_step.call(n % 3)


def _next_of_three(n: int) -> object:
    return n % 3 + 1


def _thrice(n: int) -> object:
    return 3 * n


def _sold(n: int) -> object:
    return [3 * n, 3 * n + 3, n]


def _listens(n: int) -> Call[Any]:
    return repertoire.listens.call(_words(n))


def _races(n: int) -> Call[Any]:
    return repertoire.races.call(_few_words(n))


def _counts(n: int) -> Call[Any]:
    return repertoire.counts.call(n, n % 4)


def _counted(n: int) -> object:
    return n + 1 + n % 4


def _ten_and_one(n: int) -> object:
    return 10 * n + 1


def _twice(n: int) -> object:
    return 2 * n


def _driven(n: int) -> object:
    return 2 * (n + 1)


def _debounced(n: int) -> Call[Any]:
    return repertoire.debounced.call(n % 2)


def _parity(n: int) -> object:
    return n % 2


PROGRAMS: dict[str, Program] = {
    "job": Program(repertoire.step.call, _next),
    "long job": Program(repertoire.long_step.call, _next),
    "heavy job": Program(repertoire.heavy.call, _next),
    "shaky job": Program(repertoire.shaky.call, _same),
    "later job": Program(repertoire.step.call, _next, after=timedelta(seconds=1.5)),
    "keyed job": Program(repertoire.long_step.call, _next, key=_key),
    "job, one open": Program(_one_of_three, _next_of_three, key=_key_while_open),
    "job, one a second": Program(_one_of_three, _next_of_three, key=_key_for_a_second),
    "limited job": Program(repertoire.single.call, _same),
    "paced job": Program(repertoire.paced.call, _same),
    "batched job": Program(repertoire.weigh.call, _thrice),
    "cancelled job": Program(
        repertoire.long_step.call, _next, "cancelled", or_else="succeeded", operated=Operated.CANCELLED
    ),
    "sequence": Program(repertoire.sequence.call, _after_steps),
    "retried": Program(repertoire.retried.call, _next),
    "fan": Program(repertoire.fan.call, _fanned),
    "listens": Program(_listens, _heard, signals=_words),
    "races": Program(_races, _few_heard, signals=_few_words),
    "answers": Program(_answers, _asked, questions=_few_words),
    "books": Program(repertoire.books.call, _next),
    "market": Program(repertoire.market.call, _sold),
    "turnstile": Program(repertoire.turnstile.call, _next),
    "family": Program(repertoire.family.call, _three),
    "spread": Program(repertoire.spread.call, _three),
    "counts": Program(_counts, _counted),
    "regrets": Program(repertoire.regrets.call, _same, "failed"),
    "cancelled": Program(repertoire.waits_long.call, _same, "cancelled", operated=Operated.CANCELLED),
    "terminated": Program(repertoire.waits_long.call, _same, "cancelled", operated=Operated.TERMINATED),
    "out of time": Program(repertoire.waits_long.call, _same, "failed", timeout=timedelta(seconds=2)),
    "paused": Program(repertoire.sequence.call, _after_steps, operated=Operated.PAUSED),
    "hurried": Program(repertoire.sequence.call, _after_steps, operated=Operated.HURRIED),
    "beating job": Program(repertoire.beating.call, _same),
    "silent job": Program(repertoire.silent.call, _twice),
    "throttled job": Program(repertoire.throttled.call, _same, or_else="cancelled", times=4),
    "debounced job": Program(_debounced, _parity, or_else="cancelled", times=4),
    "asks": Program(repertoire.asks.call, _ten_and_one, operated=Operated.ANSWERED),
    "breaks": Program(repertoire.breaks.call, _next, operated=Operated.MENDED),
    "rewound": Program(repertoire.sequence.call, _after_steps, operated=Operated.REWOUND),
    "forked": Program(repertoire.sequence.call, _after_steps, operated=Operated.FORKED),
    DRIVEN: Program(None, _driven),
}
"""By name."""
