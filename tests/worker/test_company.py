"""Which suspects are executed beside each other: the fewer, the more crashes they have."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, cast
from uuid import uuid4

from holdfast.worker.company import FEW, MANY, Company

if TYPE_CHECKING:
    from collections.abc import Sequence

    from holdfast.worker.held import HeldRun


def suspects(*crashes: int) -> list[HeldRun]:
    return [cast("HeldRun", SimpleNamespace(run_id=uuid4(), crashed=number)) for number in crashes]


def enter(company: Company, runs: Sequence[HeldRun]) -> None:
    for run in runs:
        company.enter(run.run_id)


def leave(company: Company, runs: Sequence[HeldRun]) -> None:
    for run in runs:
        company.leave(run.run_id)


def test_those_with_the_fewest_crashes_come_first_and_no_others_beside_them() -> None:
    company = Company()
    ready = suspects(4, 2, 3, 1, 2, 4)
    first = company.choose(ready)
    assert [run.crashed for run in first] == [2, 1, 2]
    enter(company, first)
    left = [run for run in ready if run not in first]
    assert company.choose(left) == []
    leave(company, first[:2])
    assert company.choose(left) == []
    leave(company, first[2:])
    assert [run.crashed for run in company.choose(left)] == [3]


def test_who_is_entered_counts_until_it_leaves() -> None:
    company = Company()
    ready = suspects(*[2] * (MANY + 10))
    enter(company, company.choose(ready))
    rest = ready[MANY:]
    assert company.choose(rest) == []
    leave(company, ready[:3])
    assert company.choose(rest) == rest[:3]


def test_with_three_crashes_few_and_with_four_nobody_else() -> None:
    for crashes, number in ((3, FEW), (4, 1), (9, 1)):
        company = Company()
        ready = suspects(*[crashes] * (FEW + 1))
        chosen = company.choose(ready)
        assert len(chosen) == number
        enter(company, chosen)
        assert company.choose(ready[number:]) == []


def test_one_that_does_it_among_many_is_found_before_it_is_anybodys_fifth() -> None:
    """It dies of each group that it is in; whoever else is there then is suspected once more, and nobody given up."""
    crashes = dict.fromkeys(range(300), 2)
    culprit, deaths = 217, 0
    while crashes:
        company = Company()
        runs = {run.run_id: (number, run) for number in crashes for run in suspects(crashes[number])}
        chosen = [runs[run.run_id][0] for run in company.choose([run for _, run in runs.values()])]
        if culprit not in chosen:
            for number in chosen:
                del crashes[number]
            continue
        deaths += 1
        for number in chosen:
            crashes[number] += 1
        for number in [number for number, count in crashes.items() if count == 5]:
            assert number == culprit
            del crashes[number]
    assert deaths == 3
