"""Runs, tasks, buckets and leases: a model says first what comes of it, whatever is said to the schema's functions.

Here always the same is said. More of it, from fresh seeds: ``./dev simulate --machines 2000``.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator

import pytest

from holdfast.core.states import Flag, RunStatus
from holdfast.core.worker_state import BUCKET_TRANSITIONS, BucketState, WorkerState
from holdfast.testing import Databases
from tests.simulation.engines import ENGINES
from tests.simulation.exercise import exercise
from tests.simulation.laboratory import Laboratory
from tests.simulation.machine import Machine
from tests.simulation.model import ALONE, LANE, SEEN_FLAGS, Run

MACHINES = 15


def test_whatever_is_said_in_whatever_order_the_model_says_it_before(laboratory: Laboratory) -> None:
    assert exercise(laboratory, MACHINES)


def test_a_machine_reaches_every_state_of_everything(laboratory: Laboratory, monkeypatch: pytest.MonkeyPatch) -> None:
    reached = Counter[tuple[str, str]]()
    monkeypatch.setattr(Machine, "laboratory", laboratory, raising=False)
    monkeypatch.setattr(Machine, "reached", reached)
    machine = Machine()
    for _ in walk(machine):
        machine.holds()
    machine.teardown()
    # A state that is never reached has not been looked at.
    assert {state for what, state in reached if what == "run"} == set(RunStatus)
    assert {state for what, state in reached if what == "worker"} == set(WorkerState)
    assert {state for what, state in reached if what == "bucket"} == set(BucketState)
    assert {state for what, state in reached if what == "task"} == {
        flag.name.lower() for flag in Flag if flag & SEEN_FLAGS
    }


def walk(machine: Machine) -> Iterator[None]:
    """Says one thing after the other."""

    def write(run: Run, what: str) -> None:
        assert run.holder is not None
        machine.write_as(run.holder, run, run.hold, what, progress=True, again=True)

    machine.begin()
    yield
    (hand,), (first, later) = machine.hands, machine.runs
    machine.claim_as(hand, 1, 2)
    yield
    write(first, "begin")
    yield
    machine.operate_on(first, "wake")
    yield
    write(first, "obey a wake")
    yield
    write(first, "park")
    yield
    machine.operate_on(first, "pause")
    yield
    machine.operate_on(first, "resume")
    yield
    machine.operate_on(first, "cancel")
    yield
    machine.claim_as(hand, 1, 0)
    yield
    machine.operate_on(first, "terminate")
    yield
    write(first, "obey")
    yield
    write(later, "give back")
    yield
    for what in ("block", "fail", "continue", "succeed"):
        machine.add_run(0.0, None)
        yield
        machine.claim_as(hand, 3, 0)
        yield
        write(machine.runs[-1], what)
        yield
    machine.heartbeat_as(hand, WorkerState.PAUSED)
    yield
    machine.heartbeat_as(hand, WorkerState.DRAINING)
    yield
    machine.heartbeat_as(hand, WorkerState.STOPPING)
    yield
    machine.leave_as(hand)
    yield
    machine.add_worker([LANE, ALONE], None)
    yield
    machine.claim_as(machine.hands[-1], 3, 0)
    yield
    machine.move_clock(11.0)
    yield
    while machine.is_left_over(machine.hands[-1]):
        machine.recover_some(1)
        yield


def test_an_engine_without_a_rule_does_not_come_to_what_the_model_has_said(holdfast_databases: Databases) -> None:
    dsn = asyncio.run(holdfast_databases.create())
    laboratory = Laboratory(dsn, ENGINES["no fence in the flush"])
    with pytest.raises(AssertionError):
        exercise(laboratory, 60, 1)
    laboratory.close()
    asyncio.run(holdfast_databases.drop(dsn))


@pytest.mark.parametrize("state", BUCKET_TRANSITIONS)
def test_a_step_of_a_bucket_that_its_table_does_not_have_is_seen(laboratory: Laboratory, state: BucketState) -> None:
    insert = "insert into holdfast.bucket (worker_id, lane, priority, created_at, state) values (1, 'l', 3, now(), $1)"
    for after in set(BucketState) - {state} - BUCKET_TRANSITIONS[state]:
        laboratory.clear(0)
        look = laboratory.backends.look
        look(insert, state)
        look("truncate simulated.moved")
        look("update holdfast.bucket set state = $1", after)
        assert any(said.startswith("S1. ") for said in laboratory.broken()), f"{state} to {after}"
