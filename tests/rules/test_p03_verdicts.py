"""Rule 3: only an error in the data fails a run, and only the one whose data it is; all others are tried again.

Shown elsewhere: which SQLSTATEs values that cannot be stored give, and that a row of another holder is named
(``tests/store/test_flush.py``).
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from holdfast.core.states import Ending
from holdfast.store import work
from holdfast.store.writes import End
from holdfast.worker import group_commit
from holdfast.worker.claimer import Claimer
from holdfast.worker.group_commit import GroupCommit
from holdfast.worker.held import Unit
from tests.house import House, eventually
from tests.rules.change import replaced, shown
from tests.rules.commit import Committing, Owner
from tests.store.ground import Ground, step


def ending(owner: Owner, output: str = "1") -> Unit:
    return Unit(owner, end=End(Ending.SUCCEEDED, output, None))


async def told(*owners: Owner) -> list[str]:
    """What became of what they wanted written, once each has been told."""
    await eventually(lambda: all(owner.told for owner in owners), "all are told")
    return [" ".join(owner.told) for owner in owners]


async def reject_all(
    self: GroupCommit, link: Any, batch: list[Unit], error: BaseException, verdicts: Any, *, wait: bool
) -> None:
    """Who was in the same flush as the culprit fails with it."""
    verdicts.rejected.extend((unit, error) for unit in batch)


async def split_by_row(
    self: GroupCommit, link: Any, batch: list[Unit], error: BaseException, verdicts: Any, *, wait: bool
) -> None:
    """Half of what a run wants may be written, and half not."""
    if len(batch) == 1:
        verdicts.rejected.append((batch[0], error))
        return
    for unit in batch:
        await self._write(link, [unit], verdicts, wait=wait, again=True)


SINGLE_OUT = "holdfast.worker.group_commit.GroupCommit._single_out"


@shown(
    ["committed", "committed", "rejected", "committed", "committed"],
    the_split=(replaced(SINGLE_OUT, reject_all), ["rejected"] * 5),
)
async def test_p03_only_the_culprit_fails(ground: Ground, committing: Committing, expected: object) -> None:
    await ground.execute("alter table holdfast.result add check (output::text <> '\"bad\"')")
    owners = await committing.claim(5)
    commit = committing.commit()
    for owner in owners:
        commit.add(ending(owner, '"bad"' if owner is owners[2] else "1"))
    assert await told(*owners) == expected


NOTHING: list[str] = []


@shown(
    (["rejected rejected", "committed"], NOTHING),
    runs_as_units=(replaced(SINGLE_OUT, split_by_row), (["committed rejected", "committed"], ["charge#1"])),
)
async def test_p03_a_run_is_never_split(ground: Ground, committing: Committing, expected: object) -> None:
    culprit, neighbour = await committing.claim(2)
    commit = committing.commit()
    commit.add(Unit(culprit, journal=[step(1)]))
    commit.add(Unit(culprit, journal=[step(2, output="{not json")]))
    commit.add(ending(neighbour))
    await eventually(lambda: len(culprit.told) == 2, "both its writes are judged")
    assert (await told(culprit, neighbour), [row["key"] for row in await ground.journal(culprit.run_id)]) == expected


def always_the_culprit(error: Exception, *, again: bool) -> group_commit._Verdict:
    return group_commit._Verdict.CULPRIT


@shown(
    ["committed"],
    a_second_try=(replaced("holdfast.worker.group_commit._judge", always_the_culprit), ["rejected"]),
)
@pytest.mark.parametrize("state", ["53100", "57014", "40P01", "XX000"])
async def test_p03_what_is_not_about_the_data_is_tried_again(
    ground: Ground, committing: Committing, monkeypatch: pytest.MonkeyPatch, state: str, expected: object
) -> None:
    await ground.execute("create table trouble ()")
    await ground.execute(
        "create function fail() returns trigger language plpgsql as $$ begin "
        "if exists (select from public.trouble) then "
        f"raise exception 'not your fault' using errcode = '{state}'; end if; return new; end $$"
    )
    await ground.execute("create trigger fails before insert on holdfast.result for each row execute function fail()")
    await ground.execute("insert into trouble default values")
    (owner,) = await committing.claim(1)
    tries = 0
    real = work.flush

    async def flush(*arguments: Any, **options: Any) -> work.Flushed:
        nonlocal tries
        tries += 1
        return await real(*arguments, **options)

    monkeypatch.setattr(work, "flush", flush)
    committing.commit().add(ending(owner))
    await eventually(lambda: tries >= 2 or owner.told, "it is tried again, or given up")
    await ground.execute("delete from trouble")
    assert await told(owner) == expected


judged = group_commit._judge


def a_conflict_is_a_failure(error: Exception, *, again: bool) -> group_commit._Verdict:
    verdict = judged(error, again=again)
    return group_commit._Verdict.CULPRIT if verdict is group_commit._Verdict.FOREIGN else verdict


@shown(
    ["lost", "committed"],
    not_mine=(replaced("holdfast.worker.group_commit._judge", a_conflict_is_a_failure), ["rejected", "committed"]),
)
async def test_p03_a_row_of_another_holder_means_not_mine_any_more(
    ground: Ground, committing: Committing, expected: object
) -> None:
    owner, neighbour = await committing.claim(2)
    other = await ground.more()
    transaction = other.connection.transaction()
    await transaction.start()
    await other.connection.execute(
        "insert into holdfast.journal (run_id, at, seq, hold, kind, key) "
        "values ($1, holdfast.now(), 1, 2, 1, 'charge#1')",
        owner.run_id,
    )
    commit = committing.commit()
    commit.add(Unit(owner, journal=[step(1)]))
    commit.add(ending(neighbour))
    # The flush stands before the other's row, whose commit decides.
    await ground.until(
        "select exists (select from pg_stat_activity where datname = current_database() "
        "and application_name = 'flushes' and wait_event_type = 'Lock')"
    )
    await transaction.commit()
    assert await told(owner, neighbour) == expected


def never(self: Claimer) -> None:
    """Memory is never doubted."""


@shown("goes on", a_doubt=(replaced("holdfast.worker.claimer.Claimer.doubt", never), "stands still"))
async def test_p03_a_run_that_memory_was_wrong_about_goes_on_from_what_is_written(
    house: House, monkeypatch: pytest.MonkeyPatch, expected: object
) -> None:
    app = house.app()
    entered, release = asyncio.Event(), asyncio.Event()

    @app.activity
    async def step() -> str:
        entered.set()
        await release.wait()
        return "from memory"

    @app.workflow
    async def flow() -> str:
        return await step()

    claims = 0
    really_claim = work.claim

    async def claim(*arguments: Any, **options: Any) -> work.Claim:
        nonlocal claims
        claims += 1
        return await really_claim(*arguments, **options)

    monkeypatch.setattr(work, "claim", claim)
    client = await house.client(app)
    await house.worker(app, poll=timedelta(milliseconds=20))
    run = await client.start(flow)
    await entered.wait()
    await house.db.execute(
        "insert into holdfast.journal (run_id, at, seq, hold, kind, key, output) "
        "values ($1, holdfast.now(), 7, 1, 1, 'step#1', '\"as written\"')",
        run.id,
    )
    release.set()
    # It is dropped, for this row is not its own; but it is nobody else's either.
    if expected == "goes on":
        await house.ended(run.id)
    before = claims
    await eventually(lambda: claims > before + 30, "the worker has looked for work many times")
    output = await house.value("select output::text from holdfast.result where run_id = $1", run.id)
    assert ("stands still" if output is None else "goes on") == expected
    assert output in {None, '"as written"'}
