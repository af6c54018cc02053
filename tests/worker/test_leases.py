"""What a worker knows of the permits that it has leased: what it may claim by them, and what it owes."""

from __future__ import annotations

from typing import Any, cast
from uuid import UUID, uuid4

from holdfast.core.limit import Ticket
from holdfast.store.blocks import Bid, Left
from holdfast.store.work import Claimed
from holdfast.worker.leases import Leases

TICKETS = {"job": [Ticket("job", None, None, 1000, None, 1)]}


def claimed(run: UUID) -> Claimed:
    return cast("Claimed", type("Claimed", (), {"task_name": "job", "run_id": run})())


def taking(leases: Leases, held: dict[UUID, Any], count: int) -> list[UUID]:
    runs = [uuid4() for _ in range(count)]
    held.update(dict.fromkeys(runs))
    leases.took(map(claimed, runs))
    return runs


def test_it_claims_no_more_than_is_leased_and_not_held() -> None:
    held: dict[UUID, Any] = {}
    leases = Leases(TICKETS, held)
    assert leases.bids(["job", "other"], 100, 0.0) == [Bid("job", 50, 100, 0)]
    leases.leased({"job": 120}, 0.0)
    assert leases.generations(["job"], 100) == {"job": 0}
    assert leases.free(["job"]) == 120
    runs = taking(leases, held, 80)
    assert leases.free(["job"]) == 40
    # Not enough for what there is room for, and too few to be worth it.
    assert leases.generations(["job"], 100) == {}
    assert leases.generations(["job"], 30) == {"job": 0}
    for run in runs[:10]:
        del held[run]
    # It is counted once for each claim, before it.
    assert leases.free(["job"]) == 40
    assert leases.bids(["job"], 10, 0.0) == []
    assert leases.free(["job"]) == 50
    # Not what was claimed with single permits.
    held[uuid4()] = None
    assert leases.bids(["job"], 10, 0.0) == []
    assert leases.free(["job"]) == 50


def test_a_lease_that_is_too_short_grows_or_goes() -> None:
    held: dict[UUID, Any] = {}
    leases = Leases(TICKETS, held)
    leases.leased({"job": 60}, 0.0)
    assert leases.bids(["job"], 100, 0.0) == [Bid("job", 50, 100, 0)]
    leases.leased({"job": 60}, 0.0)
    # There is no more, but it may do: it is asked for again after a while only.
    assert leases.bids(["job"], 100, 0.1) == []
    assert leases.generations(["job"], 100) == {"job": 0}
    leases.was_short(["job"])
    assert leases.bids(["job"], 100, 0.1) == [Bid("job", 61, 100, 0)]
    leases.leased({"job": None}, 0.1)
    assert leases.generations(["job"], 100) == {}
    assert leases.due() == ["job"]
    assert leases.bids(["job"], 100, 100.0) == []


def test_what_is_owed_goes_back_as_its_runs_end() -> None:
    held: dict[UUID, Any] = {}
    leases = Leases(TICKETS, held)
    leases.leased({"job": 100}, 0.0)
    runs = taking(leases, held, 3)
    leases.withdraw()
    assert leases.due() == ["job"]
    assert leases.giving_back(["job"]) == {"job": 1}
    leases.given_back(["job"], {"job": Left(3, wanted=True)}, sure=True)
    assert leases.due() == []
    del held[runs[0]]
    assert leases.due() == ["job"]
    assert leases.giving_back(["job"]) == {"job": 2}
    held.clear()
    leases.given_back(["job"], {}, sure=True)
    assert leases.due() == []
    assert leases.bids(["job"], 10, 100.0) == [Bid("job", 10, 10, 2)]


def test_what_was_given_back_because_it_was_not_used_goes_on_if_nobody_wants_it() -> None:
    held: dict[UUID, Any] = {}
    leases = Leases(TICKETS, held)
    leases.leased({"job": 100}, 0.0)
    taking(leases, held, 3)
    assert leases.idle() == ["job"]
    assert leases.ample(10) == ["job"]
    leases.giving_back(["job"])
    leases.given_back(["job"], {"job": Left(3, wanted=False)}, sure=True)
    assert leases.free(["job"]) == 0
    assert leases.idle() == []
    # In doubt nothing is claimed by it.
    leases.giving_back(["job"])
    leases.given_back(["job"], {"job": Left(5, wanted=False)}, sure=False)
    assert leases.generations(["job"], 0) == {}
