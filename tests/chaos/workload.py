"""What runs while things break: runs of every kind, whose activities write down what they do.

``CHAOS_VERSION`` says which of two versions of the code this process has.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from datetime import timedelta
from pathlib import Path

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
    first_of,
    heartbeat,
    patched,
    saga,
    sleep,
)
from tests.apps.ledger import PLACE, note
from tests.rules.defects import break_process

break_process()

VERSION = int(os.environ.get("CHAOS_VERSION", "2"))

app = App()

word = Signal[int]("word")
murmur = Signal[int]("murmur")
question = Update[int, int]("question")
total_so_far = State[int]("total")


def drawer(name: object, place: Path | None = None) -> Path:
    """A file, beside the ledger, in which something lies that an activity and its caller have to tell each other."""
    return (Path(os.environ[PLACE]) if place is None else place).with_name(f"drawer-{name}")


def called(what: str = "call") -> None:
    """Writes down that this attempt has begun. The clock is one that no fault touches."""
    info, at = activity_info(), time.clock_gettime(time.CLOCK_MONOTONIC)
    note(what, f"{at:.6f}", os.getpid(), info.run_id, info.home or info.run_id, info.key, info.attempt)


@app.activity
async def step(n: int) -> int:
    called()
    await asyncio.sleep(0.01 * (n % 4))  # so that they end in another order than they began
    return n + 1


@app.activity
def crunch(n: int) -> int:
    called()
    time.sleep(0.005 * (n % 3))
    return n * 2


@app.activity(retry=Retry(max_attempts=5, initial=timedelta(milliseconds=100), jitter=0.0))
async def shaky(n: int) -> int:
    called()
    if activity_info().attempt == 1:
        raise RuntimeError("the first attempt fails")
    return n


@app.activity(transactional=True)
async def enter(connection: Connection, book: int, line: int) -> int:
    called()
    await connection.execute("insert into chaos_entry (book, line) values ($1, $2)", book, line)
    return line


@app.activity
async def give_back(thing: int) -> None:
    called("undo")
    await asyncio.sleep(0.01 * (thing % 2))


@app.activity
async def take(n: int) -> int:
    called("take")
    return n


@app.activity(retry=Retry(max_attempts=1))
async def refuse(n: int) -> None:
    called()
    raise GiveUp(f"{n} is refused")


@app.activity
async def die(n: int) -> None:
    del n
    os.kill(os.getpid(), signal.SIGKILL)


@app.activity(isolation="process")
def shut_in(n: int) -> int:
    """In a process of its own."""
    called()
    return n + 1


@app.activity(lane="elsewhere")
async def apart(n: int) -> int:
    called()
    return n


@app.activity(concurrency=[Limit(4), Limit(1, per="customer")])
async def serve(customer: int, n: int) -> int:
    del customer
    called()
    await asyncio.sleep(0.02)
    return n


@app.batch(size=10, wait=timedelta(milliseconds=100))
async def weigh(items: list[int]) -> list[int]:
    note("batch", time.clock_gettime(time.CLOCK_MONOTONIC), os.getpid(), len(items))
    await asyncio.sleep(0.02)
    return [item * 3 for item in items]


@app.activity
async def hog(n: int) -> int:
    """Blocks the event loop for longer than a lease lasts."""
    called()
    time.sleep(4.5)
    return n


@app.activity(rate=Rate(1, per=timedelta(seconds=1)))
async def paced(n: int) -> int:
    called()
    return n


@app.activity(throttle=Throttle(2, per=timedelta(seconds=4), key="customer"))
async def remind(customer: int, n: int) -> int:
    del customer
    called()
    return n


@app.activity(debounce=Debounce(timedelta(milliseconds=300), per="document", at_most=timedelta(seconds=2)))
async def index(document: int, text: int) -> int:
    del document
    called()
    return text


@app.activity(heartbeat_timeout=timedelta(seconds=2), retry=Retry(max_attempts=50, initial=timedelta(0)))
async def copy(rows: int) -> int:
    """Says how far it is; the next attempt goes on from there."""
    called()
    for row in range(activity_info().details_as(int) or 0, rows):
        await asyncio.sleep(0.02)
        heartbeat(row + 1)
    return rows


@app.activity
async def ask_somebody(n: int) -> int:
    """Gives its token away, and leaves the rest to who has it."""
    called()
    info = activity_info()
    note(info.token, place=drawer(info.run_id))
    complete_later()


@app.activity(retry=Retry(max_attempts=1))
async def print_label(n: int) -> int:
    """Fails for good until there is paper. Not in the ledger: a retried run calls it again, as is right."""
    if not drawer(f"paper-{n}").exists():
        raise GiveUp("the printer has no paper")
    return n


@app.activity
async def dawdle(n: int) -> int:
    called()
    await asyncio.sleep(0.15)
    return n


@app.workflow
async def sequence(n: int) -> int:
    """One step after the other, with a timer and a retry between them."""
    total = await step(n)
    await sleep(timedelta(milliseconds=100 * (n % 9)))
    total += await crunch(n)
    if VERSION >= 2 and patched("more"):
        total += await step(n) - n - 1
    total += await shaky(n)
    total_so_far.set(total)
    return total


@app.workflow
async def fan(n: int) -> int:
    """Many at once, some of them elsewhere."""
    return sum(await asyncio.gather(*[step(n + one) for one in range(8)], *[apart(one) for one in range(3)]))


@app.workflow
async def listens(count: int) -> list[int]:
    """So many signals, in the order in which it saw them."""
    heard: list[int] = []
    for _ in range(count):
        heard.append(await word.wait())
        await step(heard[-1])
    return heard


@app.workflow
async def hears() -> list[int]:
    """Signals that were sent without a key, up to one that is negative."""
    heard: list[int] = []
    while (one := await murmur.wait()) >= 0:
        heard.append(one)
    return heard


@app.workflow
async def leaf(n: int) -> int:
    return await step(n)


@app.workflow
async def family(n: int) -> int:
    """Children, all at once."""
    return sum(await asyncio.gather(*[leaf(n + one) for one in range(4)]))


@app.workflow
async def books(book: int) -> int:
    """Entries in a table of its own, each of them once."""
    total = 0
    for line in range(4):
        total += await enter(book, line)
    return total


@app.workflow
async def regrets(n: int) -> None:
    """Takes three things, is refused, and gives them back."""
    async with saga() as undo:
        for one in range(3):
            undo.add(give_back, await take(n * 3 + one))
        await refuse(n)


@app.workflow
async def answers(count: int) -> int:
    """Answers so many questions, and gives the sum of what was asked."""
    total = 0
    async for call in question.calls():
        total += await step(call.input) - 1
        call.reply(call.input * 2)
        count -= 1
        if not count:
            break
    return total


@app.workflow
async def marathon(n: int, laps: int) -> int:
    """Goes on as a new run after each lap."""
    n = await step(n)
    if laps:
        marathon.continue_as_new(n, laps - 1)
    return n


@app.workflow(concurrency=Limit(3))
async def turnstile(n: int) -> int:
    """Of these only three are inside at once."""
    await sleep(timedelta(milliseconds=50))
    return await serve(n % 5, n)


@app.workflow
async def market(n: int) -> int:
    """Some of it in batches, some of it under limits."""
    weights, served = await asyncio.gather(
        fan_out(weigh, [n, n + 1, n + 2]), asyncio.gather(*[serve(one, one) for one in range(3)])
    )
    return sum(weights) + sum(served)


@app.workflow
async def seat(number: int) -> int:
    """Of these one is open for each number: its key is taken while it is."""
    await sleep(timedelta(milliseconds=100))
    return await step(number) - 1


@app.workflow
async def crowd(count: int) -> list[int]:
    """So many signals, which several send at once."""
    return sorted([await word.wait() for _ in range(count)])


@app.workflow
async def race(n: int) -> int:
    """Two races of which the winner is certain, and one that anybody may win, whose loser is cancelled."""
    first = await first_of(step(n), sleep(timedelta(hours=1)))
    second = await first_of(word.wait(), sleep(timedelta(milliseconds=20)))
    await first_of(dawdle(n), sleep(timedelta(milliseconds=150)))
    return int(first.value or 0) + first.which + second.which


@app.workflow
async def purchase(n: int) -> int:
    return await ask_somebody(n)


@app.workflow
async def ship(n: int) -> int:
    """Fails once it is half through, until somebody mends what was wrong."""
    parcel = await step(n)
    return parcel + await print_label(n)


@app.workflow
async def idle() -> None:
    """Waits for what nobody sends."""
    await word.wait()


@app.workflow
async def poisoned(n: int) -> None:
    """Kills whoever executes it."""
    await die(n)


@app.schedule(every=timedelta(seconds=1), overlap="queue")
@app.activity
async def tick() -> None:
    called()
