"""The modes of a worker are the matrix of duties, and nothing else."""

from __future__ import annotations

import pytest

from holdfast.core.mode import DUTIES, Duty, Mode

MATRIX = """
scan ahead of time       | yes | yes | no  | no
onboard to buckets       | yes | yes | no  | no
claim buckets            | yes | no  | yes | no
execute handlers         | yes | no  | yes | no
sync state to the master | yes | no  | yes | yes
accept new work          | yes | yes | yes | no
recover orphaned buckets | yes | no  | no  | yes
"""


def test_the_matrix() -> None:
    rows = [[cell.strip() for cell in line.split("|")] for line in MATRIX.strip().splitlines()]
    assert [row[0] for row in rows] == [duty.value for duty in Duty]
    for word, *cells in rows:
        assert {mode: cell == "yes" for mode, cell in zip(Mode, cells, strict=True)} == {
            mode: mode.does(Duty(word)) for mode in Mode
        }


def test_every_mode_has_its_row_and_full_has_all() -> None:
    assert set(DUTIES) == set(Mode)
    assert DUTIES[Mode.FULL] == set(Duty)


@pytest.mark.parametrize("duty", Duty)
def test_coordinators_executors_and_drains_together_do_what_a_full_one_does(duty: Duty) -> None:
    assert any(mode.does(duty) for mode in Mode if mode is not Mode.FULL)


@pytest.mark.parametrize("mode", Mode)
def test_what_executes_owns_buckets_and_writes_down_what_came_of_it(mode: Mode) -> None:
    assert mode.does(Duty.CLAIM) is mode.does(Duty.EXECUTE)
    assert not mode.does(Duty.EXECUTE) or mode.does(Duty.SYNC)
