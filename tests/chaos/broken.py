"""Broken engines: for each defect the smallest trial that finds it.

A trial may make something slower than it is: a server that stands still for a while in the midst of a function does the
same. An engine that is sound bears that, and ``sound`` shows it: the same trial, without the defect, finds nothing.
"""

from __future__ import annotations

import time
from typing import NamedTuple

from tests.chaos.trial import Outcome, Plan, run
from tests.rules.change import rewritten, together
from tests.rules.defects import DEFECTS, FENCE

_GATE = "    select w.survived into v_lives from holdfast.worker w where w.id = v_worker.id for update skip locked;\n"
_TAKEN = "    v_now := holdfast.now();\n    with held as (\n"
_LEFT = "  delete from holdfast.fence f where f.worker_id = p_worker;\n"
_RENEWED = "  returning true, w.command;\n"

_SLOW_RECOVERY = rewritten("recover", (_TAKEN, f"    perform pg_sleep(0.4);\n{_TAKEN}"))
_SLOW_LEAVE = rewritten("leave", (_LEFT, f"{_LEFT}  perform pg_sleep(0.4);\n"))
_SLOW_CLAIM = rewritten("claim", (FENCE, f"{FENCE}  perform pg_sleep(0.15);\n"))
_SLOW_LEASES = together(
    rewritten("recover", (_GATE, f"    perform pg_sleep(0.8);\n{_GATE}")),
    rewritten("heartbeat", (_RENEWED, f"{_RENEWED}  perform pg_sleep(0.5);\n")),
)

_QUICK = (0.1, 0.5)
_FROZEN = frozenset({"SIGSTOP beyond the lease"})
_KILLED = frozenset({"kill -9", "network delayed"})
_AMID = frozenset({"a flush arrives amid the recovery"})

_ENGINE = Plan(seed=1, seconds=90.0, messages=0.0, pauses=_QUICK, look_every=1.0, at_once=True, patience=15.0)

TRIALS: dict[str, Plan] = {
    "no fence in the flush": _ENGINE._replace(only=_AMID, slowed=_SLOW_RECOVERY),
    "fence and write in one statement": _ENGINE._replace(
        only=frozenset({"a flush arrives as its worker leaves"}), slowed=_SLOW_LEAVE
    ),
    "park without the inbox counter": _ENGINE._replace(
        only=frozenset({"hints dropped", "network delayed"}), shares={"listens": 1, "answers": 1}
    ),
    "inbox read with the claim": _ENGINE._replace(
        calm=True, slowed=_SLOW_CLAIM, shares={"listens": 4, "sequence": 1, "job": 1}
    ),
    "result before journal": _ENGINE._replace(
        only=_KILLED, shares={"sequence": 1}, rate=30.0, pauses=(0.5, 1.5), look_every=0.3
    ),
    "outcome seen before its commit": _ENGINE._replace(calm=True),
    "no epoch check in recovery": _ENGINE._replace(
        # What it leaves behind is known to be wrong after a minute.
        only=frozenset({"a heartbeat arrives as the lease ends"}),
        slowed=_SLOW_LEASES,
        seconds=180.0,
    ),
    "old identity after fencing": _ENGINE._replace(only=_FROZEN),
    "no hold check": _ENGINE._replace(
        only=frozenset({"answers to COMMIT lost", "network delayed"}),
        answers=("holdfast.flush(",),
        shares={"listens": 6, "sequence": 1, "answers": 3},
    ),
    "watermark without sweep or slack": _ENGINE._replace(calm=True, shares={"late": 3, "sequence": 1, "job": 1}),
    "retry state only in memory": _ENGINE._replace(calm=True, shares={"sequence": 1}),
    "signal delivered without its journal row": _ENGINE._replace(calm=True, shares={"listens": 1}),
    "heartbeat on the event loop": _ENGINE._replace(calm=True, shares={"hog": 1, "sequence": 100}),
}
"""By the name of the defect."""


class Caught(NamedTuple):
    """What a trial has come to."""

    defect: str
    check: str | None
    """What has found it first; None: nothing has."""
    seconds: float
    """From the beginning of the load to the finding."""
    took: float
    """The trial in all."""
    outcome: Outcome

    def __str__(self) -> str:
        found = "NOT FOUND" if self.check is None else f"{self.seconds:5.1f} s  {self.check}"
        return f"{self.defect:42} {found}"


async def catch(defect: str, *, seconds: float | None = None, seed: int | None = None, sound: bool = False) -> Caught:
    """Puts this broken engine to its trial; ``sound``: the trial alone, for which there is nothing to find."""
    assert defect in DEFECTS
    plan = TRIALS[defect]
    plan = plan._replace(
        defect=None if sound else defect,
        trial=defect,
        seconds=plan.seconds if seconds is None else seconds,
        seed=plan.seed if seed is None else seed,
    )
    if sound:
        # What ends late has not been lost, and what is wrong is to be looked into.
        plan = plan._replace(at_once=False, patience=90.0)
    began = time.monotonic()
    outcome = await run(plan)
    took = time.monotonic() - began
    if outcome.good:
        return Caught(defect, None, plan.seconds, took, outcome)
    first = outcome.findings[0]
    return Caught(defect, first.check, first.after, took, outcome)
