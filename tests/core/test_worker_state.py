"""The states of workers and buckets, and what may be asked when: tables that everything else derives from."""

from __future__ import annotations

from itertools import product

import pytest

from holdfast.core.worker_state import BUCKET_TRANSITIONS, WORKER_TRANSITIONS, BucketState, Wish, WorkerState

LIVE = [state for state in WorkerState if not state.ended]


def test_every_state_has_its_row() -> None:
    assert set(WORKER_TRANSITIONS) == set(WorkerState)
    assert set(BUCKET_TRANSITIONS) == set(BucketState)


def test_the_life_of_a_bucket() -> None:
    """active → completing → deleted; active or completing → lost → draining → ready to delete → deleted."""
    paths: set[tuple[BucketState | None, ...]] = set()

    def walk(*path: BucketState | None) -> None:
        if path[-1] is None:
            paths.add(path[:-1])
            return
        for following in BUCKET_TRANSITIONS[path[-1]]:
            walk(*path, following)

    walk(BucketState.ACTIVE)
    end = (BucketState.LOST, BucketState.DRAINING, BucketState.READY_TO_DELETE)
    assert paths == {
        (BucketState.ACTIVE, BucketState.COMPLETING),
        (BucketState.ACTIVE, *end),
        (BucketState.ACTIVE, BucketState.COMPLETING, *end),
    }


def test_a_worker_that_is_about_to_leave_never_works_again() -> None:
    for state in (WorkerState.DRAINING, WorkerState.STOPPING):
        seen, open_ = set[WorkerState](), {state}
        while open_:
            seen |= open_
            open_ = {following for one in open_ for following in WORKER_TRANSITIONS[one]} - seen
        assert not seen & {WorkerState.ACTIVE, WorkerState.PAUSED}


@pytest.mark.parametrize("state", [WorkerState.LEFT, WorkerState.LOST])
def test_of_one_that_has_ended_nothing_may_be_asked(state: WorkerState) -> None:
    assert state.ended
    assert not any(wish.may_follow(None, state) for wish in Wish)


@pytest.mark.parametrize(("before", "wish", "state"), list(product(Wish, Wish, LIVE)))
def test_a_wish_may_follow_one_that_asks_for_no_more(before: Wish, wish: Wish, state: WorkerState) -> None:
    order = [{Wish.PAUSE, Wish.RESUME}, {Wish.DRAIN}, {Wish.STOP}, {Wish.STOP_NOW}]
    stands = [{WorkerState.ACTIVE, WorkerState.PAUSED}, {WorkerState.DRAINING}, {WorkerState.STOPPING}]

    def rank(one: Wish) -> int:
        (found,) = [n for n, some in enumerate(order) if one in some]
        return found

    (least,) = [n for n, some in enumerate(stands) if state in some]
    expected = rank(wish) >= max(rank(before), least)
    assert wish.may_follow(before.command, state) is expected


@pytest.mark.parametrize(("wish", "state"), list(product(Wish, LIVE)))
def test_a_worker_that_obeys_goes_a_way_that_there_is(wish: Wish, state: WorkerState) -> None:
    if wish.may_follow(None, state) and wish.wanted is not state:
        assert wish.wanted in WORKER_TRANSITIONS[state]
    assert wish.is_granted(wish.wanted)


def test_the_command_that_is_stored_says_what_is_wanted() -> None:
    assert {wish.command for wish in Wish} == {None, "pause", "drain", "stop", "stop now"}
    assert all(Wish(wish.command or Wish.RESUME) is wish for wish in Wish)
