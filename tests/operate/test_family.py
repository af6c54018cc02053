"""Parents and children are retried and rewound without leaving anybody waiting."""

from __future__ import annotations

from collections import Counter

import pytest

from holdfast import OperationRefused, Retry, RunFailed, RunStatus, Signal
from tests.house import House
from tests.scenarios.soon import SOON

go = Signal[str]("go")


class Declined(Exception):
    """Raised by activities of these tests."""


class Family:
    """A parent with children, one of which fails the first time."""

    def __init__(self, house: House) -> None:
        self.app = house.app()
        self.calls: Counter[str] = Counter()
        calls = self.calls

        @self.app.activity(retry=Retry(max_attempts=1))
        async def work(word: str) -> str:
            calls[word] += 1
            if word == "odd" and calls[word] == 1:
                raise Declined("odd")
            return word

        @self.app.workflow
        async def child(word: str) -> str:
            if word == "waits":
                return await go.wait()
            return await work(word)

        @self.app.workflow
        async def parent(*, last: str = "odd") -> list[str]:
            first = await child("even")
            await work("between")
            return [first, await child(last)]

        self.parent = parent


async def test_a_retried_parent_keeps_the_child_that_went_well_and_starts_the_other_again(house: House) -> None:
    family = Family(house)
    client = await house.client(family.app)
    await house.worker(family.app)
    run = await client.start(family.parent.call())
    with pytest.raises(RunFailed):
        await run.result(timeout=SOON)
    again = await run.retry()
    assert await run.result(timeout=SOON) == ["even", "odd"]
    assert family.calls == {"even": 1, "between": 1, "odd": 2}
    kept = await house.journal(again.id)
    assert kept[:3] == ["child#1>", "child#1", "work#1"]
    assert await house.value("select count(*) from holdfast.run where parent = $1", again.id) == 1
    await house.check_invariants()


async def test_a_rewound_parent_lets_its_open_child_go_and_starts_another(house: House) -> None:
    family = Family(house)
    client = await house.client(family.app)
    await house.worker(family.app)
    run = await client.start(family.parent.call(last="waits"))
    await house.until("select exists (select from holdfast.journal where run_id = $1 and key = 'child#2>')", run.id)
    await house.until("select waits_for is not null from holdfast.task where run_id = $1", run.id)
    (reason,) = (await run.why()).reasons
    old = await house.value("select id from holdfast.run where parent = $1 order by id desc limit 1", run.id)
    assert (reason.kind, reason.text, reason.remedy) == (
        "child",
        "waits for child child#2 since 0 s",
        f"holdfast run why {old}",
    )
    again = await run.rewind("work#1")
    await house.until("select status = 'cancelled' from holdfast.runs where id = $1", old)
    await house.until("select exists (select from holdfast.run where parent = $1)", again.id)
    new = await house.value("select id from holdfast.run where parent = $1", again.id)
    await client.get(new).signal(go, "done")
    assert await run.result(timeout=SOON) == ["even", "done"]
    assert family.calls == {"even": 1, "between": 2}
    await house.check_invariants()


async def test_an_open_child_is_not_rewound_under_its_parent(house: House) -> None:
    family = Family(house)

    @family.app.workflow
    async def waits() -> str:
        return await go.wait() + await go.wait()

    @family.app.workflow
    async def above() -> str:
        return await waits()

    client = await house.client(family.app)
    await house.worker(family.app)
    run = await client.start(above)
    await house.until("select exists (select from holdfast.run where parent = $1)", run.id)
    child = client.get(await house.value("select id from holdfast.run where parent = $1", run.id))
    await child.signal(go, "a")
    await house.until("select exists (select from holdfast.journal where run_id = $1)", child.id)
    with pytest.raises(OperationRefused, match="is a child that its parent waits for"):
        await child.rewind("signal:go#1")
    await child.signal(go, "b")
    assert await run.result(timeout=SOON) == "ab"
    await house.check_invariants()


async def test_a_child_that_has_failed_is_retried_as_a_run_of_its_own(house: House) -> None:
    family = Family(house)
    client = await house.client(family.app)
    await house.worker(family.app)
    run = await client.start(family.parent.call())
    with pytest.raises(RunFailed):
        await run.result(timeout=SOON)
    failed = await house.value(
        "select e.run_id from holdfast.result e join holdfast.run r on r.id = e.run_id "
        "where e.status = 2 and r.parent = $1",
        run.id,
    )
    again = await client.get(failed).retry()
    assert await again.result(timeout=SOON) == "odd"
    assert (await again.describe()).parent is None
    # Its parent was told, and has ended.
    assert await run.status() is RunStatus.FAILED
    await house.check_invariants()


async def test_a_terminated_parent_has_its_children_cancelled(house: House) -> None:
    family = Family(house)
    client = await house.client(family.app)
    await house.worker(family.app)
    run = await client.start(family.parent.call(last="waits"))
    await house.until("select exists (select from holdfast.journal where run_id = $1 and key = 'child#2>')", run.id)
    await house.parked(run.id)
    await run.terminate()
    await house.until("select count(*) = 0 from holdfast.task")
    assert await house.value("select count(*) from holdfast.runs where status = 'cancelled'") == 2
    await house.check_invariants()
