"""However a seed fails, it is named, with the end of its trace if there is one, and with how it is shown again."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast.embedded import EmbeddedPostgres
from holdfast.testing import Databases
from tests.simulation import laboratory as laboratories
from tests.simulation.examination import Examined
from tests.simulation.examiners import Examiners
from tests.simulation.laboratory import Laboratory, Overdue, examine, examined, report_of
from tests.simulation.report import Report
from tests.simulation.verdict import Verdict

AGAIN = "again: ./dev simulate --seed 5"


@pytest.mark.parametrize("error", [ZeroDivisionError("by nothing"), SystemExit(3), Overdue("for ever")])
def test_an_error_of_any_kind_in_a_schedule_is_said_with_its_seed_and_its_trace(
    laboratory: Laboratory, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def judge(self: Verdict, *_: object) -> None:
        raise error

    monkeypatch.setattr(Verdict, "check_ends", judge)
    report = report_of(laboratory.simulate(5))
    told = report.tell()
    assert f"WRONG: {type(error).__name__}: {error}" in told
    assert "in judge" in told, "it says where"
    assert report.fell
    assert told.startswith("seed 5, the end of its trace:")
    assert len(report.trace) > 100
    assert told.endswith(AGAIN)


def test_what_fails_on_a_broken_engine_is_shown_again_on_that_one() -> None:
    told = Report(seed=5, wrong=["it is lost"], trace=["a line"]).tell("no fence in the flush")
    assert told.endswith("again: ./dev simulate --seed 5 --broken 'no fence in the flush'")


def test_what_fails_before_there_is_a_trace_is_said_with_its_seed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.setattr(laboratories, "_laboratories", [None])
    monkeypatch.setattr(laboratories, "_places", [tmp_path / "place"])
    told = examine(5, twice=False).tell()
    assert told.startswith("seed 5, without a trace:\nWRONG: AttributeError")
    assert told.endswith(AGAIN)


def test_a_seed_that_fails_in_a_process_of_its_own_is_named(
    server: EmbeddedPostgres, holdfast_databases: Databases
) -> None:
    with Examiners(server.dsn, template=holdfast_databases.template, examine=_misbehave) as examiners:
        reports = {seed: examiners.examine(seed) for seed in range(1, 6)}
    assert reports[1].wrong == []
    assert reports[2].wrong == ["nothing came of it but ValueError('no words')"]
    assert reports[3].wrong[0].startswith("Overdue: it has lasted more than")
    assert reports[4].wrong[0].startswith("its process has ended in the middle of it")
    assert reports[5].wrong, "nothing that follows is taken for examined"
    for seed in (2, 3, 4):
        told = reports[seed].tell()
        assert reports[seed].fell
        assert told.startswith(f"seed {seed}, without a trace:\nWRONG: ")
        assert told.endswith(f"again: ./dev simulate --seed {seed}")


def test_the_report_of_what_has_failed_is_the_one_that_is_kept() -> None:
    examined = Examined()
    examined.add(Report(seed=4, wrong=[]))
    examined.add(Report(seed=5, wrong=["it is lost"]))
    assert examined.caught is not None
    assert examined.caught.seed == 5


def _misbehave(seed: int, *, twice: bool) -> Report:
    """In an examiner: each seed in its way."""

    def go_round(_: Laboratory) -> Report:
        while True:
            pass

    def wait(laboratory: Laboratory) -> Report:
        laboratory.backends.look("select pg_sleep(60)")
        return Report(seed=seed, wrong=[])

    laboratories._SECONDS, laboratories._GRACE = 0.2, 0.3
    match seed:
        case 2:
            raise ValueError("no words")
        case 3:
            return examined(seed, go_round)
        case 4:
            return examined(seed, wait)
        case _:
            return Report(seed=seed, wrong=[])
