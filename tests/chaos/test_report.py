"""What makes a trial one that shows something, and what its report says."""

from __future__ import annotations

import shlex
from collections import Counter

import pytest

from tests.chaos.__main__ import chaos
from tests.chaos.findings import Findings
from tests.chaos.report import again, checks
from tests.chaos.trial import Plan
from tests.chaos.verdict import Verdict
from tests.house import invariants


@pytest.mark.parametrize(
    ("promised", "wrong", "refused", "is_enough"),
    [
        (20_193, 0, 50, True),
        (3_000, 0, 2_000, True),  # much was held back, and much refused: it was a slow machine
        (3, 0, 1_000, False),
        (3, 0, 0, False),  # nearly all of the time nothing was started
        (9_000, 0, 10_000, False),
        (9_000, 10_000, 0, False),
        (0, 0, 0, False),
    ],
)
def test_a_trial_shows_something_where_most_starts_came_to_a_good_end_and_there_were_enough(
    promised: int, wrong: int, refused: int, is_enough: bool
) -> None:
    findings = Findings()
    ended = Counter({"sequence: succeeded": promised, "sequence: failed, wrong": wrong})
    Verdict(ended=ended, refused=refused).weigh(15.0 * 1_800, findings)
    assert (not findings) == is_enough
    assert findings.looked == {"10. something succeeds": 1}


def test_what_was_checked_is_said_by_name_and_number() -> None:
    looked = Counter(dict.fromkeys([title for title, _ in invariants(but=("4. ",))], 176))
    looked.update({"4. what a bucket holds belongs to a lease that lives, or that ended within the last lease": 1})
    looked.update({"2. what is recorded never changes": 176, "10. something succeeds": 1})
    said = list(checks(looked))
    text = " ".join(" ".join(said).split())
    assert "176 tests/invariants.sql: 1a, 1b, 1c, " in text
    assert "1 tests/invariants.sql: 4 " in f"{text} "
    assert "    176  2. what is recorded never changes" in said
    assert "      1  10. something succeeds" in said


def test_the_command_that_deals_the_same_names_all_that_decides() -> None:
    plan = Plan(seed=7, seconds=90.0, workers=2, rate=4.5, only=frozenset({"kill -9", "the client's pool exhausted"}))
    words = shlex.split(again(plan))
    assert words[:2] == ["./dev", "chaos"]
    with chaos.make_context("chaos", words[2:]) as asked:
        assert asked.params["minutes"] == 1.5
        assert asked.params["seed"] == 7
        assert asked.params["workers"] == 2
        assert asked.params["rate"] == 4.5
        assert set(asked.params["only"]) == plan.only
    trial = plan._replace(trial="no hold check", defect=None)
    assert again(trial) == "./dev chaos --seed 7 --minutes 1.5 --broken --defect 'no hold check' --sound"
