"""What runs in a simulation: small programs, each with what it has to come to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from typing import Any, NamedTuple
from uuid import UUID

from holdfast import (
    App,
    Connection,
    GiveUp,
    Key,
    Limit,
    Rate,
    Retry,
    Signal,
    State,
    Update,
    activity_info,
    fan_out,
    saga,
    sleep,
)
from holdfast.core.definition import Call

app = App()

word = Signal[int]("word")
question = Update[int, int]("question")
total = State[int]("total")

QUEUE = "mail"
MESSAGE = "message"
"""What is sent in the place of a run."""
CLOCK = "clock"
"""A schedule, which starts runs by itself."""


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


@app.activity(rate=Rate(4, timedelta(seconds=1), burst=2))
async def paced(n: int) -> int:
    note()
    return n


@app.batch(size=3, wait=timedelta(milliseconds=100))
async def weigh(items: list[int]) -> list[int]:
    """Of several runs at once, so it tells nobody that it is called."""
    await asyncio.sleep(0.02)
    return [item * 3 for item in items]


@app.activity(transactional=True)
async def enter(connection: Connection, line: int) -> int:
    """Writes a line into the book of its run, in one commit with its outcome."""
    note()
    await connection.execute("insert into simulated.entry (book, line) values ($1, $2)", activity_info().run_id, line)
    return line


@app.activity(lane="elsewhere")
async def apart(n: int) -> int:
    note()
    return n + 1


@app.activity(retry=Retry(max_attempts=1))
async def refuse(n: int) -> None:
    note()
    raise GiveUp(f"{n} is refused")


@app.activity
async def tick(at: datetime) -> str:
    note()
    return at.isoformat()


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
    total.set(value)
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
async def answers(count: int) -> int:
    """Answers so many questions; it works before each answer."""
    asked = 0
    async for call in question.calls():
        asked += await step(call.input) - 1
        call.reply(call.input * 2)
        count -= 1
        if not count:
            break
    return asked


@app.workflow
async def books(n: int) -> int:
    """Writes some lines, one after the other."""
    for line in range(1 + n % 3):
        await enter(line)
    return await step(n)


@app.workflow
async def market(n: int) -> list[int]:
    """Some of it in batches, and some of it one at a time of all."""
    weights, served = await asyncio.gather(fan_out(weigh, [n, n + 1]), single(n))
    return [*weights, served]


@app.workflow(concurrency=Limit(1))
async def turnstile(n: int) -> int:
    """Of these only one is inside at once, however often it is parked there."""
    await sleep(timedelta(milliseconds=40 * (n % 3)))
    return await step(n)


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


def _no_key(_: int) -> str | Key | None:
    return None


def _key(n: int) -> str | Key | None:
    return f"order:{n}"


def _key_while_open(n: int) -> str | Key | None:
    return Key(f"open:{n % 3}", window="open")


def _key_for_a_second(n: int) -> str | Key | None:
    return Key(f"second:{n % 3}", window=timedelta(seconds=1))


class Operated(Enum):
    """What somebody does to a run that was started."""

    CANCELLED = "cancelled"
    TERMINATED = "terminated"
    PAUSED = "paused for a while"
    HURRIED = "woken from its sleeps"


class Program(NamedTuple):
    """What is started, and what it has to come to."""

    call: Callable[[int], Call[Any]]
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
    return answers.call(_few_words(n))


def _one_of_three(n: int) -> Call[Any]:
    return long_step.call(n % 3)


def _next_of_three(n: int) -> object:
    return n % 3 + 1


def _thrice(n: int) -> object:
    return 3 * n


def _sold(n: int) -> object:
    return [3 * n, 3 * n + 3, n]


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
    "later job": Program(step.call, _next, after=timedelta(seconds=1.5)),
    "keyed job": Program(long_step.call, _next, key=_key),
    "job, one open": Program(_one_of_three, _next_of_three, key=_key_while_open),
    "job, one a second": Program(_one_of_three, _next_of_three, key=_key_for_a_second),
    "limited job": Program(single.call, _same),
    "paced job": Program(paced.call, _same),
    "batched job": Program(weigh.call, _thrice),
    "cancelled job": Program(long_step.call, _next, "cancelled", or_else="succeeded", operated=Operated.CANCELLED),
    "sequence": Program(sequence.call, _after_steps),
    "retried": Program(retried.call, _next),
    "fan": Program(fan.call, _fanned),
    "listens": Program(_listens, _heard, signals=_words),
    "races": Program(_races, _few_heard, signals=_few_words),
    "answers": Program(_answers, _asked, questions=_few_words),
    "books": Program(books.call, _next),
    "market": Program(market.call, _sold),
    "turnstile": Program(turnstile.call, _next),
    "family": Program(family.call, _three),
    "spread": Program(spread.call, _three),
    "counts": Program(_counts, _counted),
    "regrets": Program(regrets.call, _same, "failed"),
    "cancelled": Program(waits_long.call, _same, "cancelled", operated=Operated.CANCELLED),
    "terminated": Program(waits_long.call, _same, "cancelled", operated=Operated.TERMINATED),
    "out of time": Program(waits_long.call, _same, "failed", timeout=timedelta(seconds=2)),
    "paused": Program(sequence.call, _after_steps, operated=Operated.PAUSED),
    "hurried": Program(sequence.call, _after_steps, operated=Operated.HURRIED),
}
"""By name."""
