"""Many workers on a clock of their own, in schedules that seeds deal. More of them: ``./dev simulate``."""

from __future__ import annotations

import pytest

from holdfast.embedded import EmbeddedPostgres
from holdfast.testing import Databases
from tests.simulation.examiners import HASHES, Examiners
from tests.simulation.report import Report

SEEDS = range(1, 11)


@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_is_lost_or_doubled_whatever_the_seed_deals(examiner: Examiners, seed: int) -> None:
    report = examined(examiner, seed)
    assert report.runs + report.trips > 20


@pytest.mark.parametrize("seed", [3, 8])
def test_a_seed_gives_the_same_trace_again(examiner: Examiners, seed: int) -> None:
    report = examined(examiner, seed, twice=True)
    assert len(report.trace) > 100


def test_a_seed_gives_the_same_trace_in_every_process_whoever_began_it(
    examiner: Examiners, server: EmbeddedPostgres, holdfast_databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(HASHES, "17")
    with Examiners(server.dsn, template=holdfast_databases.template) as other:
        assert examined(other, 7).trace == examined(examiner, 7).trace


def test_another_seed_gives_another_trace(examiner: Examiners) -> None:
    assert examined(examiner, 3).trace != examined(examiner, 4).trace


def examined(examiner: Examiners, seed: int, *, twice: bool = False) -> Report:
    """What comes of a seed with which everything goes well."""
    report = examiner.examine(seed, twice=twice)
    if report.wrong:
        pytest.fail(report.tell(), pytrace=False)
    return report
