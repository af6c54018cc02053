"""What runs in a simulation: small activities and workflows."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

from holdfast import (
    App,
    Connection,
    Debounce,
    GiveUp,
    Limit,
    Rate,
    Retry,
    Signal,
    State,
    Throttle,
    Update,
    activity_info,
    complete_later,
    fan_out,
    heartbeat,
    saga,
    sleep,
)
from tests.simulation.stage import check_details, note, stage

app = App()

word = Signal[int]("word")
question = Update[int, int]("question")
total = State[int]("total")

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


THROTTLE = Throttle(2, per=timedelta(seconds=1))
DEBOUNCE = Debounce(timedelta(milliseconds=600), per="n", at_most=timedelta(milliseconds=1500))


@app.activity(throttle=THROTTLE)
async def throttled(n: int) -> int:
    note()
    return n


@app.activity(debounce=DEBOUNCE)
async def debounced(n: int) -> int:
    note()
    return n


@app.activity(retry=QUICK)
async def beating(n: int) -> int:
    """Says how far it is, and fails, as often as its argument says."""
    info = note()
    check_details(info)
    heartbeat(10 * info.attempt + 1)
    await asyncio.sleep(0.3)
    heartbeat(10 * info.attempt + 2)
    if info.attempt <= n % 3:
        raise RuntimeError(f"attempt {info.attempt}")
    return n


@app.activity(
    retry=Retry(max_attempts=20, initial=timedelta(milliseconds=100), jitter=0.0),
    heartbeat_timeout=timedelta(milliseconds=800),
)
async def silent(n: int) -> int:
    """Says one thing and is silent, for which its attempt is over; the next one is told what it was."""
    info = note()
    if info.attempt == 1:
        heartbeat(n)
        await asyncio.sleep(600.0)
    told: int = info.details
    return n + told


@app.activity(retry=QUICK)
async def asked(n: int) -> int:
    """Somebody else completes it, by its token."""
    info = note()
    stage.tokens[info.run_id, info.attempt] = info.token
    complete_later()


@app.activity(retry=Retry(max_attempts=1))
async def fragile(n: int) -> int:
    """Fails for good, until what its run lacks was mended."""
    info = note()
    if (info.origin or info.run_id) not in stage.mended:
        raise GiveUp(f"{n} is broken")
    return n


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
async def asks(n: int) -> int:
    return await step(await asked(n))


@app.workflow
async def breaks(n: int) -> int:
    return await fragile(await step(n))


@app.workflow
async def waits_long(n: int) -> int:
    """To be cancelled; it cleans up first."""
    try:
        await sleep(timedelta(seconds=600))
    finally:
        await step(n)
    return n
