"""What runs in a simulation: small programs, each with what it has to come to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, NamedTuple
from uuid import UUID

from holdfast import App, GiveUp, Limit, Retry, Signal, activity_info, saga, sleep
from holdfast.core.definition import Call

app = App()

word = Signal[int]("word")

QUEUE = "mail"
MESSAGE = "message"
"""What is sent in the place of a run."""


class Called(NamedTuple):
    """One call of an activity."""

    run_id: UUID
    key: str
    attempt: int


@dataclass(slots=True)
class Stage:
    """Where activities tell what they do: that of the schedule that is simulated."""

    called: Callable[[Called], None] | None = None
    block: Callable[[float], None] | None = None
    ledger: list[Called] = field(default_factory=list[Called])


stage = Stage()


def note() -> None:
    """This attempt has begun."""
    info = activity_info()
    call = Called(info.run_id, info.key, info.attempt)
    stage.ledger.append(call)
    if stage.called is not None:
        stage.called(call)


QUICK = Retry(max_attempts=5, initial=timedelta(milliseconds=200), jitter=0.0)


@app.activity
async def step(n: int) -> int:
    note()
    if n % 3:
        await asyncio.sleep(0.02 * (n % 3))
    return n + 1


@app.activity
async def long_step(n: int) -> int:
    note()
    await asyncio.sleep(0.5 + 0.3 * (n % 4))
    return n + 1


@app.activity
async def heavy(n: int) -> int:
    """Blocks the loop of its worker for longer than a lease, if it is the first time."""
    note()
    if activity_info().attempt == 1 and stage.block is not None:
        stage.block(5.0)
    await asyncio.sleep(0.001)
    return n + 1


@app.activity(retry=QUICK)
async def shaky(n: int) -> int:
    """Fails at first, as often as its argument says."""
    note()
    if activity_info().attempt <= n % 4:
        raise RuntimeError(f"attempt {activity_info().attempt}")
    return n


@app.activity(concurrency=Limit(1))
async def single(n: int) -> int:
    note()
    await asyncio.sleep(0.05)
    return n


@app.activity(lane="elsewhere")
async def apart(n: int) -> int:
    note()
    return n + 1


@app.activity(retry=Retry(max_attempts=1))
async def refuse(n: int) -> None:
    note()
    raise GiveUp(f"{n} is refused")


@app.activity
async def take(n: int) -> int:
    note()
    return n


@app.activity
async def give_back(n: int) -> None:
    note()


@app.workflow
async def sequence(n: int) -> int:
    """One step after the other, with timers in between."""
    value = n
    for _ in range(2 + n % 3):
        value = await step(value)
        if n % 2:
            await sleep(timedelta(milliseconds=150 * (1 + n % 5)))
    return value


@app.workflow
async def retried(n: int) -> int:
    return await step(await shaky(n))


@app.workflow
async def fan(n: int) -> list[int]:
    return list(await asyncio.gather(*[step(n + one) for one in range(4)], sleeps(n)))


async def sleeps(n: int) -> int:
    await sleep(timedelta(milliseconds=100 * (n % 4)))
    return n


@app.workflow
async def listens(count: int) -> list[int]:
    """So many signals, in the order in which it saw them; it works after each."""
    heard: list[int] = []
    for _ in range(count):
        heard.append(await word.wait())
        await step(heard[-1])
    return heard


@app.workflow
async def races(n: int) -> list[int]:
    """A signal or a time, whichever comes first, again and again."""
    heard: list[int] = []
    while len(heard) < n:
        try:
            async with asyncio.timeout(0.3):
                heard.append(await word.wait())
        except TimeoutError:
            await step(1)
    return heard


@app.workflow
async def leaf(n: int) -> int:
    if n % 2:
        await sleep(timedelta(milliseconds=100))
    return await step(n)


@app.workflow
async def family(n: int) -> list[int]:
    """Children, all at once."""
    return list(await asyncio.gather(*[leaf(n + one) for one in range(3)]))


@app.workflow
async def spread(n: int) -> list[int]:
    """Activities in a lane of their own: runs of their own."""
    return list(await asyncio.gather(*[apart(n + one) for one in range(3)]))


@app.workflow
async def counts(n: int, left: int) -> int:
    """Goes on as a new run, a few times."""
    value = await step(n)
    if left:
        counts.continue_as_new(value, left - 1)
    return value


@app.workflow
async def regrets(n: int) -> None:
    """Takes some, is refused, and gives them back."""
    async with saga() as undo:
        for one in range(2):
            undo.add(give_back, await take(n + one))
        await refuse(n)


@app.workflow
async def waits_long(n: int) -> int:
    """To be cancelled; it cleans up first."""
    try:
        await sleep(timedelta(seconds=600))
    finally:
        await step(n)
    return n


def _none(_: int) -> int:
    return 0


class Program(NamedTuple):
    """What is started, and what it has to come to."""

    call: Callable[[int], Call[Any]]
    wanted: Callable[[int], object]
    status: str = "succeeded"
    signals: Callable[[int], int] = _none
    cancelled: bool = False
    keyed: bool = False


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


def _listens(n: int) -> Call[Any]:
    return listens.call(_words(n))


def _races(n: int) -> Call[Any]:
    return races.call(_few_words(n))


def _counts(n: int) -> Call[Any]:
    return counts.call(n, n % 4)


def _counted(n: int) -> object:
    return n + 1 + n % 4


PROGRAMS: dict[str, Program] = {
    "job": Program(step.call, _next),
    "long job": Program(long_step.call, _next),
    "heavy job": Program(heavy.call, _next),
    "shaky job": Program(shaky.call, _same),
    "keyed job": Program(long_step.call, _next, keyed=True),
    "limited job": Program(single.call, _same),
    "sequence": Program(sequence.call, _after_steps),
    "retried": Program(retried.call, _next),
    "fan": Program(fan.call, _fanned),
    "listens": Program(_listens, _heard, signals=_words),
    "races": Program(_races, _few_heard, signals=_few_words),
    "family": Program(family.call, _three),
    "spread": Program(spread.call, _three),
    "counts": Program(_counts, _counted),
    "regrets": Program(regrets.call, _same, "failed"),
    "cancelled": Program(waits_long.call, _same, "cancelled", cancelled=True),
}
