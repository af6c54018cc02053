"""Many workers on a clock of their own, in schedules that seeds deal. More of them: ``./dev simulate``."""

from __future__ import annotations

import pytest

from tests.simulation.laboratory import Laboratory

SEEDS = range(1, 13)


@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_is_lost_or_doubled_whatever_the_seed_deals(laboratory: Laboratory, seed: int) -> None:
    outcome = laboratory.simulate(seed)
    assert not outcome.wrong, "\n".join([*outcome.trace.lines[-40:], *outcome.wrong, outcome.suspect or ""])
    assert outcome.runs > 0
    assert outcome.calls > 0


@pytest.mark.parametrize("seed", [3, 8])
def test_a_seed_gives_the_same_trace_again(laboratory: Laboratory, seed: int) -> None:
    first, second = laboratory.simulate(seed), laboratory.simulate(seed)
    assert first.trace.difference(second.trace) is None
    assert first.trace.digest == second.trace.digest
    assert len(first.trace.lines) > 100


def test_another_seed_gives_another_trace(laboratory: Laboratory) -> None:
    assert laboratory.simulate(3).trace.digest != laboratory.simulate(4).trace.digest
