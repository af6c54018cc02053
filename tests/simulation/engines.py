"""The deliberate defects as a simulation has them: some look otherwise where one process runs at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from holdfast.worker import heart
from tests.rules.change import replaced, rewritten
from tests.rules.defects import DEFECTS, READS, Claimed, Defect, read_with

if TYPE_CHECKING:
    from holdfast.store.session import Session
    from holdfast.store.statements import Statement

_LOOKED_AT = (
    "    select w.survived into v_lives from holdfast.worker w where w.id = v_worker.id for update skip locked;\n",
    "    select w.survived into v_lives from holdfast.worker w where w.id = v_worker.id;\n",
)
_GUARD = (
    """         and w.epoch = v_worker.epoch
         and w.ended_at is null
         and w.lease_until <= clock_timestamp();
""",
    "         and true;\n",
)


class _OnTheLoop:
    """Beside nothing: on the worker's own loop."""

    def __init__(self) -> None:
        self._roused = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self, beats: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._task = asyncio.get_running_loop().create_task(beats())

    def rouse(self) -> None:
        self._roused.set()

    async def rest(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(max(0.0, seconds)):
                await self._roused.wait()
        except TimeoutError:
            pass
        self._roused.clear()

    async def end(self, patience: float) -> None:
        if self._task is not None:
            await asyncio.wait([self._task], timeout=patience)


class _HeartOnTheLoop(heart.Heart):
    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **{**options, "beside": _OnTheLoop()})


async def _before_the_claim(session: Session, statement: Statement, values: Mapping[str, object]) -> Claimed:
    """As a claim whose snapshot is older than what it waits for: a statement is not interrupted here."""
    found = await session.connection.fetch(f"select t.run_id, t.inbox_count, {READS.format('t')} from holdfast.task t")
    rows = await session.connection.fetch(statement.text, *statement.bind(values))
    return Claimed(
        rows,
        {row["run_id"]: set(row["keys"]) for row in found},
        {row["run_id"]: set(row["numbers"]) for row in found if row["inbox_count"]},
    )


ENGINES: Mapping[str, Defect] = {
    **DEFECTS,
    "inbox read with the claim": Defect(
        DEFECTS["inbox read with the claim"].seen,
        process=read_with(_before_the_claim),
    ),
    "no epoch check in recovery": Defect(
        # A statement is not interrupted here. So the look at the row goes too, which passes over who is renewing it.
        DEFECTS["no epoch check in recovery"].seen,
        database=rewritten("recover", _LOOKED_AT, _GUARD),
    ),
    "heartbeat on the event loop": Defect(
        # No thread waits for another one here.
        DEFECTS["heartbeat on the event loop"].seen,
        process=replaced("holdfast.worker.roof.Heart", _HeartOnTheLoop),
    ),
}
"""By what was taken out."""

CAUGHT: Sequence[str] = (
    "no fence in the flush",
    "park without the inbox counter",
    "result before journal",
    "outcome seen before its commit",
    "old identity after fencing",
    "retry state only in memory",
    "signal delivered without its journal row",
    "heartbeat on the event loop",
)
"""Those that a simulation finds within minutes; chaos finds all."""
