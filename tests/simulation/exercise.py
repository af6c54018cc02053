"""Machines, so many from one seed of Hypothesis, in a process of examiners or in a test."""

from __future__ import annotations

from collections import Counter

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.simulation.laboratory import Laboratory, examined
from tests.simulation.machine import Machine
from tests.simulation.report import Report

TOGETHER = 20
"""Machines of one seed."""
STEPS = 40


def exercise(laboratory: Laboratory, machines: int, number: int | None = None) -> Counter[tuple[str, str]]:
    """Has so many machines say what comes to the mind of this seed; without one, always the same.

    Gives how often which state of what was seen; raises what does not come to what the model has said.
    """

    class Seeded(Machine):
        pass

    Seeded.laboratory = laboratory
    Seeded.reached = Counter()
    run_state_machine_as_test(
        Seeded if number is None else seed(number)(Seeded),
        settings=settings(
            max_examples=machines,
            stateful_step_count=STEPS,
            deadline=None,
            derandomize=number is None,
            # What fails is shown as it was found: making it smaller takes minutes.
            phases=[Phase.generate],
            database=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
        ),
    )
    return Seeded.reached


def exercise_seed(seed: int, *, twice: bool) -> Report:
    """As many as belong together, of this seed; in a process of examiners."""

    def work(laboratory: Laboratory) -> Report:
        reached = exercise(laboratory, TOGETHER, seed)
        return Report(seed=seed, wrong=[], befallen={f"a {what} is {state}": n for (what, state), n in reached.items()})

    return examined(seed, work)
