"""Which rows a run keeps that goes on from another one."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

from holdfast.core.continuation import Recorded, kept_before, kept_for_retry
from holdfast.core.failure import Failure
from holdfast.core.ids import uuid7
from holdfast.core.journal import EntryKind
from holdfast.core.lineage import Lineage, lineage_of
from holdfast.core.states import Ending

BEGAN = datetime(2030, 1, 1, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return BEGAN + timedelta(seconds=seconds)


def failure(message: str = "no", cause: Failure | None = None, kind: str = "shop:Declined") -> Failure:
    return Failure(type=kind, message=message, cause=cause)


def step(seq: int, key: str, *, began: float, ended: float, failed: Failure | None = None) -> Recorded:
    return Recorded(seq, EntryKind.ACTIVITY, key, at(began), at(ended), failed)


def row(seq: int, kind: EntryKind, key: str, ended: float) -> Recorded:
    return Recorded(seq, kind, key, None, at(ended), None)


def attempt(seq: int, key: str, *, began: float, ended: float) -> Recorded:
    return Recorded(seq, EntryKind.ATTEMPT, key, at(began), at(ended), failure())


def retried(rows: list[Recorded], end: Failure | None, ending: Ending = Ending.FAILED) -> list[int]:
    return kept_for_retry(rows, ending, end).seqs


def test_the_failed_step_and_its_attempts_are_left_out_and_all_before_them_is_kept() -> None:
    rows = [
        attempt(1, "a#1@1", began=0, ended=1),
        step(2, "a#1", began=2, ended=3),
        attempt(3, "b#1@1", began=3, ended=4),
        step(4, "b#1", began=5, ended=6, failed=failure()),
    ]
    assert retried(rows, failure()) == [1, 2]


def test_an_error_that_the_code_has_handled_is_kept() -> None:
    rows = [
        step(1, "a#1", began=0, ended=1, failed=failure()),
        step(2, "b#1", began=1, ended=2),
        # The same error once more, of a step that began after the first was seen.
        step(3, "a#2", began=2, ended=3, failed=failure()),
    ]
    assert retried(rows, failure()) == [1, 2]


def test_two_that_fail_side_by_side_in_the_same_way_are_both_left_out() -> None:
    rows = [
        step(1, "a#1", began=0, ended=1, failed=failure()),
        attempt(2, "a#2@1", began=0.5, ended=1.5),
        step(3, "a#2", began=2, ended=3, failed=failure()),
    ]
    assert retried(rows, failure()) == []


def test_what_had_begun_before_the_failure_is_kept_and_what_followed_from_it_is_not() -> None:
    rows = [
        step(1, "a#1", began=0, ended=1, failed=failure()),
        step(2, "b#1", began=0, ended=2),
        step(3, "undo#1", began=1.1, ended=2.5),
        row(4, EntryKind.TIMER, "timer#1", 3),
        row(5, EntryKind.SIGNAL, "signal:go#1", 4),
        attempt(6, "c#1@1", began=0.9, ended=4),
        step(7, "c#1", began=4, ended=5),
        step(8, "d#1", began=0.5, ended=6, failed=failure("another")),
    ]
    assert retried(rows, failure()) == [2, 6, 7]


def test_the_cause_of_the_error_that_ended_the_run_is_what_led_to_it() -> None:
    rows = [step(1, "a#1", began=0, ended=1, failed=failure()), step(2, "tell#1", began=1, ended=2)]
    assert retried(rows, failure("cannot go on", failure())) == []
    rebuilt = Failure(type="holdfast.core.errors:ActivityFailed", message="activity 'a' failed: shop:Declined: no")
    assert retried(rows, rebuilt) == []


def test_of_a_group_all_that_are_named_are_left_out() -> None:
    rows = [
        step(n, f"a#{n}", began=n, ended=n + 0.5, failed=failure(f"{n}") if n in {2, 4} else None) for n in range(1, 6)
    ]
    group = failure("some failed (2 sub-exceptions): Declined: 2; Declined: 4", kind="builtins:ExceptionGroup")
    # Those that began after the first had failed might depend on it.
    assert retried(rows, group) == [1]


def test_an_error_of_the_code_itself_keeps_all_unless_it_follows_a_failed_step_at_once() -> None:
    slip = failure("slip", kind="builtins:ValueError")
    handled = [step(1, "a#1", began=0, ended=1, failed=failure()), step(2, "b#1", began=1, ended=2)]
    assert retried(handled, slip) == [1, 2]
    assert retried(handled[:1], slip) == []
    # What is written down on the way to that error is no step in between.
    for kind, key in (
        (EntryKind.PATCH, "patch:new"),
        (EntryKind.STATE, "state:phase#1"),
        (EntryKind.REPLY, "reply#1"),
        (EntryKind.STARTED, "ship#1>"),
    ):
        assert retried([*handled[:1], row(2, kind, key, 1)], slip) == [], key
    assert retried([], slip) == []


def test_a_cancel_and_all_that_followed_from_it_is_left_out() -> None:
    rows = [
        step(1, "a#1", began=0, ended=1),
        row(2, EntryKind.SIGNAL, "signal:go#1", 2),
        row(3, EntryKind.CANCEL, "cancel#2", 3),
        step(4, "clean#1", began=3, ended=4),
        row(5, EntryKind.CANCEL, "cancel#3", 5),
    ]
    assert retried(rows, None, Ending.CANCELLED) == [1, 2]
    timed_out = failure("too long", kind="holdfast.core.errors:RunTimedOut")
    assert retried(rows, timed_out) == [1, 2]
    # One that was terminated was not asked.
    assert retried(rows[:2], None, Ending.CANCELLED) == [1, 2]


def test_everything_before_an_outcome_is_kept_except_attempts_at_what_is_not() -> None:
    rows = [
        step(1, "a#1", began=0, ended=1),
        attempt(2, "b#1@1", began=1, ended=2),
        row(3, EntryKind.PATCH, "patch:new", 2),
        row(4, EntryKind.SIGNAL, "signal:go#1", 3),
        step(5, "b#1", began=3, ended=4),
        step(6, "c#1", began=1, ended=5),
    ]
    kept = kept_before(rows, "b#1")
    assert kept is not None
    assert kept == ([1, 3, 4], 1)
    assert kept_before(rows, "c#1") == ([1, 2, 3, 4, 5], 5)
    assert kept_before(rows, "a#1") == ([], None)
    assert kept_before(rows, "b#1@1") is None
    assert kept_before(rows, "d#1") is None


def test_a_lineage_is_written_and_read() -> None:
    a, b, c, d = (uuid7(n, 0, n) for n in range(1, 5))

    def options(lineage: dict[str, object]) -> str:
        return json.dumps({"lineage": lineage})

    first = lineage_of(None, a, BEGAN)
    assert first == Lineage((), a, BEGAN)
    retry = lineage_of(options(first.retried()), b, at(9))
    assert retry == Lineage((), a, BEGAN)
    rewound = lineage_of(options(retry.branched(7)), c, at(10))
    assert rewound == Lineage(((a, 7),), c, BEGAN)
    assert lineage_of(options(rewound.retried()), d, at(11)) == Lineage(((a, 7),), c, BEGAN)
    assert lineage_of(options(rewound.branched(9)), d, at(11)) == Lineage(((a, 7), (c, 9)), d, BEGAN)
    assert lineage_of(options(rewound.branched(5)), d, at(11)) == Lineage(((a, 5),), d, BEGAN)
    assert lineage_of(options(rewound.branched(None)), d, at(11)) == Lineage((), d, at(11))
