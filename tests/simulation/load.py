"""What callers do in a schedule: they start, signal and cancel, and remember what they were promised."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from holdfast.client import Client
from holdfast.client.parts import Parts
from holdfast.core.errors import DatabaseError, RunEnded
from tests.simulation.clockwork import Clockwork
from tests.simulation.desk import Desk
from tests.simulation.driving import Driving
from tests.simulation.mailbox import Mailbox
from tests.simulation.programs import CLOCK, MESSAGE, PROGRAMS, Operated, Program
from tests.simulation.repertoire import app, question, word
from tests.simulation.sieve import Sieve

if TYPE_CHECKING:
    from uuid import UUID

    from holdfast.client import RunHandle
    from holdfast.core.schedule import OverlapName
    from holdfast.store.statements import Statements
    from tests.simulation.backends import Backends
    from tests.simulation.process import Process
    from tests.simulation.world import World

T = TypeVar("T")

_TRIES_AGAIN = 0.2


class Plan(NamedTuple):
    """One run that is to be started."""

    kind: str
    number: int
    after: float
    between: float
    """Seconds between what is sent to it."""


@dataclass(slots=True)
class Promise:
    """A start that was acknowledged."""

    plan: Plan
    run_id: UUID


def plans(chance: random.Random, *, most: int, within: float) -> list[Plan]:
    """Some runs, of a few kinds."""
    kinds = chance.sample([*PROGRAMS, MESSAGE, CLOCK], chance.randint(2, 6))
    return [
        Plan(
            kind=chance.choice(kinds),
            number=chance.randrange(12),
            after=within * chance.random(),
            between=chance.choice([0.0, 0.05, 0.4]) * chance.random(),
        )
        for _ in range(chance.randint(3, most))
    ]


class Load:
    """The callers, all in one process."""

    def __init__(
        self,
        world: World,
        backends: Backends,
        dsn: str,
        statements: Statements,
        planned: list[Plan],
        *,
        hints: bool,
    ) -> None:
        self._world = world
        self._dsn = dsn
        self._statements = statements
        self.planned = planned
        self._hints = hints
        self.mailbox = Mailbox(world, backends)
        self.clockwork = Clockwork(world, backends)
        self.driving = Driving(world, backends)
        self.sieve = Sieve(world, backends)
        self.desk = Desk(world, self._again)
        self.promises: list[Promise] = []
        self.done = False

    async def main(self, process: Process) -> None:
        """All that is started and sent."""
        client = await self._open()
        await asyncio.gather(*[self._follow(client, number, plan) for number, plan in enumerate(self.planned)])
        self.done = True

    async def consume(self, process: Process) -> None:
        """Who receives what is sent to the queue."""
        await self.mailbox.consume(process, await self._open())

    async def drive(self, process: Process) -> None:
        """Who drives by hand what nobody's worker executes."""
        await self.driving.consume(process, await self._open())

    async def _open(self) -> Client:
        while True:
            client = Client(
                Parts(
                    dsn=self._dsn,
                    statements=self._statements,
                    seal=app.seal(),
                    definitions=app.definitions,
                    pool_size=3,
                    hints=self._hints,
                )
            )
            try:
                return await client.__aenter__()
            except DatabaseError:
                await asyncio.sleep(_TRIES_AGAIN)

    async def _follow(self, client: Client, number: int, plan: Plan) -> None:
        await asyncio.sleep(plan.after)
        if plan.kind == MESSAGE:
            await self._write(client, number, plan)
            return
        if plan.kind == CLOCK:
            overlap: OverlapName = "queue" if plan.number % 2 else "allow"
            await self.clockwork.follow(client, f"clock-{number}", self._again, overlap=overlap)
            return
        program = PROGRAMS[plan.kind]
        run = await self._start(client, program, plan)
        for _ in range(1, program.times):
            await asyncio.sleep(2 * plan.between)
            await self._start(client, program, plan)
        for one in range(program.signals(plan.number)):
            await asyncio.sleep(plan.between)
            await self._again(partial(client.signal, run.id, word, one, key=f"word-{one}"))
        for one in range(program.questions(plan.number)):
            await asyncio.sleep(plan.between)
            answer = await self._again(partial(run.update, question, one, key=f"question-{one}"))
            if answer != 2 * one:
                self._world.blame(f"{plan.kind}({plan.number}) was asked {one}, and answered {answer}")
        if program.operated is not None:
            await asyncio.sleep(10 * plan.between)
            await self._operate(client, run, program.operated, plan)
        if (
            program.status == "succeeded"
            and number % 2
            and program.or_else is None
            and program.key(plan.number) is None
        ):
            given = await self._again(run.result)
            if given != program.wanted(plan.number):
                self._world.blame(f"{plan.kind}({plan.number}) gave its caller {given}")

    async def _start(self, client: Client, program: Program, plan: Plan) -> RunHandle[Any]:
        if program.call is None:
            run = await self._again(partial(self.driving.trigger, client, plan.number))
        else:
            call, key = program.call(plan.number), program.key(plan.number)
            run = await self._again(lambda: client.start(call, key=key, after=program.after, timeout=program.timeout))
        assert run is not None
        self._promise(run, plan)
        return run

    def _promise(self, run: RunHandle[Any], plan: Plan) -> None:
        self._world.note("caller", f"was promised {plan.kind}({plan.number}) as {run.id}")
        self.promises.append(Promise(plan, run.id))

    async def _write(self, client: Client, number: int, plan: Plan) -> None:
        for one in range(1 + plan.number % 3):
            body = f"{number}.{one}"
            if (plan.number + one) % 2:
                await self._again(partial(self.mailbox.send, client, body))
                continue
            await self._again(partial(self.mailbox.send_keyed, client, body))
            await asyncio.sleep(plan.between)
            # Once more: it is the same message, also where it was acknowledged meanwhile.
            await self._again(partial(self.mailbox.send_keyed, client, body))

    async def _operate(self, client: Client, run: RunHandle[Any], operated: Operated, plan: Plan) -> None:
        match operated:
            case Operated.CANCELLED:
                await self._again(run.cancel)
            case Operated.TERMINATED:
                await self._again(run.terminate)
            case Operated.PAUSED:
                await self._again(partial(run.pause, at_once=plan.number % 2 == 0))
                await asyncio.sleep(1.0)
                await self._again(run.resume)
            case Operated.HURRIED:
                for _ in range(3):
                    await self._again(run.wake)
                    await asyncio.sleep(0.1)
            case Operated.ANSWERED:
                await self.desk.answer(client, run, plan.number)
            case _:
                again = await self.desk.resume(run, operated)
                if again is not None:
                    self._promise(again, plan)

    async def _again(self, send: Callable[[], Awaitable[T]]) -> T | None:
        while True:
            try:
                return await send()
            except RunEnded:
                return None
            except DatabaseError:
                await asyncio.sleep(_TRIES_AGAIN)
