"""J8: schedules start one run per tick, on time, whatever becomes of those who see to them."""

from __future__ import annotations

import asyncio
import base64
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

import pytest

from holdfast import App, Client, DefinitionError, InvalidSchedule, RunStatus, Schedule, Signal
from holdfast.core.cadence import jitter_of
from tests.house import House, eventually, until
from tests.scenarios.soon import SOON

HOUR = timedelta(hours=1)
go = Signal[int]("go")


def workshop(house: House, **options: Any) -> App:
    """An app with a job and a workflow to be scheduled."""
    app = house.app(**options)

    @app.activity
    async def note(at: datetime, text: str = "tick") -> str:
        return f"{text} {at.isoformat()}"

    @app.activity
    async def beat() -> None: ...

    @app.workflow
    async def waits() -> int:
        return await go.wait()

    return app


async def ticks_of(house: House, name: str) -> list[datetime]:
    """The ticks that have made runs, in order."""
    rows = await house.db.fetch(
        "select options #>> '{schedule,tick}' as tick from holdfast.run "
        "where options #>> '{schedule,name}' = $1 and options #>> '{schedule,tick}' is not null order by 1",
        name,
    )
    return [datetime.fromisoformat(row["tick"]) for row in rows]


async def made(house: House, name: str, count: int) -> None:
    """Waits until so many runs were made by ticks."""
    await house.until("select made >= $2 from holdfast.schedule where name = $1", name, count)


async def running(client: Client, house: House, name: str) -> UUID:
    """Waits until a run of the schedule waits for its signal, and gives it."""
    await house.until(
        "select count(*) > 0 from holdfast.task t join holdfast.run r on r.id = t.run_id "
        "where r.options #>> '{schedule,name}' = $1 and t.waits_inbox and t.bucket_id is null",
        name,
    )
    (run,) = (await client.schedules.get(name)).running
    return run


async def now(house: House) -> datetime:
    moment: datetime = await house.value("select holdfast.now()")
    return moment


# ---- ticks


async def test_an_interval_makes_a_run_at_each_of_its_ticks_and_tells_it_the_time(house: House) -> None:
    app = workshop(house)
    client = await house.client(app)
    await house.worker(app)
    created = await client.schedules.create(
        "often", app.definitions["note"], every=timedelta(seconds=1), tick_parameter="at", input={"text": "at"}
    )
    assert created.next_at is not None
    await made(house, "often", 3)
    await client.schedules.pause("often")
    ticks = await ticks_of(house, "often")
    assert ticks == [created.next_at + n * timedelta(seconds=1) for n in range(len(ticks))]
    first = (await client.list(tags={"schedule": "often"})).items[-1]
    assert await client.get(first.id).result(timeout=SOON) == f"at {created.next_at.isoformat()}"
    await house.check_invariants()


async def test_a_tick_in_code_is_there_with_the_first_worker_and_a_client_makes_none(house: House) -> None:
    app = workshop(house)
    app.schedule("every weekday at 18:00 in America/New_York")(app.definitions["waits"])
    client = await house.client(app)
    assert len(await client.schedules.list()) == 0
    await house.worker(app)
    await house.until("select count(*) = 1 from holdfast.schedule")
    found = await client.schedules.get("waits")
    assert (found.origin, found.status, found.target) == ("code", "active", "waits")
    assert found.cadence == "0 18 * * mon-fri in America/New_York"
    (following,) = await client.schedules.preview(name="waits", count=1)
    assert found.next_at == following
    assert (following.hour, following.minute, following.utcoffset() in {-4 * HOUR, -5 * HOUR}) == (18, 0, True)


async def test_a_changed_schedule_is_seen_to_at_once_though_nobody_looks_for_long(house: House) -> None:
    app = workshop(house)
    client = await house.client(app)
    # Without the hint nobody would look for five minutes.
    await house.worker(app, poll=timedelta(seconds=60), lease=timedelta(minutes=10))
    await house.until(
        "select count(*) = 1 from pg_stat_activity "
        "where application_name like 'holdfast schedules%' and datname = current_database()"
    )
    await client.schedules.create("soon", app.definitions["beat"], every=timedelta(seconds=1))
    await made(house, "soon", 2)


async def test_without_hints_all_is_found_by_looking(house: House) -> None:
    app = workshop(house)
    client = await house.client(app)
    await house.worker(app, hints=False)
    await client.schedules.create("soon", app.definitions["beat"], every=timedelta(seconds=1), overlap="queue")
    await made(house, "soon", 2)


async def test_the_time_that_a_run_gets_is_that_of_the_schedules_zone(house: House) -> None:
    app = workshop(house)

    @app.activity
    async def report(at: datetime) -> date:
        return at.date()

    client = await house.client(app)
    await house.worker(app)
    await client.schedules.create("daily", report, "every day at 00:30 in Asia/Tokyo", tick_parameter="at")
    found = await client.schedules.get("daily")
    assert found.next_at is not None
    await house.advance(found.next_at - await now(house) + timedelta(milliseconds=50))
    await made(house, "daily", 1)
    run = (await client.schedules.get("daily")).last_run
    assert run is not None
    # At half past midnight in Tokyo it is still the day before in UTC.
    assert await client.get(run, report).result(timeout=SOON) == found.next_at.date() + timedelta(days=1)


async def test_an_input_is_sealed_like_any_other(house: House) -> None:
    class Base64:
        def encode(self, data: bytes) -> bytes:
            return base64.b64encode(data)

        def decode(self, data: bytes) -> bytes:
            return base64.b64decode(data)

    app = workshop(house, codec=Base64())
    client = await house.client(app)
    await house.worker(app)
    await client.schedules.create(
        "secret", app.definitions["note"], every=timedelta(seconds=1), tick_parameter="at", input={"text": "whisper"}
    )
    assert (await client.schedules.get("secret")).input == {"text": "whisper"}
    await made(house, "secret", 1)
    run = (await client.schedules.get("secret")).last_run
    assert run is not None
    assert "whisper" in await client.get(run).result(timeout=SOON)
    assert not await house.value("select bool_or(input::text like '%whisper%') from holdfast.schedule")
    assert not await house.value("select bool_or(input::text like '%whisper%') from holdfast.run")
    # Who lacks the codec can list it, and cannot read it.
    stranger = await house.client(house.app())
    assert (await stranger.schedules.get("secret")).input is None
    changed = await stranger.schedules.update("secret", lane="other")
    assert (changed.lane, changed.input, changed.tick_parameter) == ("other", None, "at")
    assert (await client.schedules.get("secret")).input == {"text": "whisper"}


async def test_a_schedule_that_one_process_cannot_see_to_is_left_to_others_and_says_why(house: House) -> None:
    class Rot:
        def encode(self, data: bytes) -> bytes:
            return data[::-1]

        def decode(self, data: bytes) -> bytes:
            return data[::-1]

    able = workshop(house, codec=Rot())
    client = await house.client(able)
    unable = house.app()

    @unable.activity
    async def unrelated() -> None: ...

    await house.worker(unable)
    await client.schedules.create(
        "sealed", able.definitions["note"], every=timedelta(seconds=1), tick_parameter="at", overlap="allow"
    )
    await house.until("select problem like '%codec%' from holdfast.schedule")
    # The others are not held up by it.
    await client.schedules.create("open", able.definitions["beat"], every=timedelta(seconds=1))
    await house.until("select made > 0 or next_at is not null from holdfast.schedule where name = 'open'")
    await house.worker(able)
    await made(house, "sealed", 1)
    assert (await client.schedules.get("sealed")).problem is None


async def test_it_begins_at_its_start_and_is_over_at_its_end(house: House) -> None:
    app = workshop(house)
    client = await house.client(app)
    await house.worker(app)
    start = await now(house) + HOUR
    created = await client.schedules.create(
        "some", app.definitions["beat"], every=HOUR, start=start, end=start + 2 * HOUR, catch_up="all", overlap="allow"
    )
    assert created.next_at == start
    assert await client.schedules.preview(name="some") == [start, start + HOUR]
    await house.advance(5 * HOUR)
    await made(house, "some", 2)
    assert await ticks_of(house, "some") == [start, start + HOUR]
    assert (await client.schedules.get("some")).status == "ended"
    with pytest.raises(InvalidSchedule, match="no tick between now and its end"):
        await client.schedules.update("some", end=start + timedelta(seconds=1))


async def test_with_jitter_a_run_is_due_a_while_after_its_tick_and_always_the_same(house: House) -> None:
    app = workshop(house)
    client = await house.client(app)
    other = house.app()

    @other.activity
    async def unrelated() -> None: ...

    # It sees to the schedule, and does not know what that starts.
    await house.worker(other)
    half = timedelta(minutes=30)
    created = await client.schedules.create("loose", app.definitions["beat"], every=HOUR, jitter=half, overlap="allow")
    assert created.next_at is not None
    for number in range(3):
        await house.advance(created.next_at + number * HOUR - await now(house) + timedelta(milliseconds=1))
        await made(house, "loose", number + 1)
    rows = await house.db.fetch(
        "select (r.options #>> '{schedule,tick}')::timestamptz as tick, t.due_at "
        "from holdfast.run r join holdfast.task t on t.run_id = r.id order by r.id"
    )
    ticks = [row["tick"] for row in rows]
    assert ticks == [created.next_at + number * HOUR for number in range(3)]
    late = [row["due_at"] - row["tick"] for row in rows]
    assert late == [jitter_of(created.id, tick, half) for tick in ticks]
    assert len(set(late)) == 3


# ---- catch-up


@pytest.mark.parametrize(("catch_up", "expected"), [("none", 0), ("last", 1), ("all", 5)])
async def test_after_downtime_ticks_are_made_up_for_as_the_policy_says(
    house: House, catch_up: Any, expected: int
) -> None:
    app = workshop(house)
    client = await house.client(app)
    created = await client.schedules.create(
        "hourly", app.definitions["beat"], every=HOUR, catch_up=catch_up, overlap="allow"
    )
    assert created.next_at is not None
    # Nobody is there for five ticks.
    await house.advance(created.next_at - await now(house) + 4 * HOUR + timedelta(minutes=10))
    await house.worker(app)
    await house.until("select next_at = $1 from holdfast.schedule", created.next_at + 5 * HOUR)
    ticks = await ticks_of(house, "hourly")
    assert ticks == [created.next_at + n * HOUR for n in range(5)][5 - expected :]
    found = await client.schedules.get("hourly")
    assert (found.made, found.missed) == (expected, 5 - expected)
    # And then it goes on as ever.
    await house.advance(created.next_at + 5 * HOUR - await now(house))
    await made(house, "hourly", expected + 1)
    await house.check_invariants()


async def test_all_is_bounded_by_the_limit_and_keeps_the_latest(house: House) -> None:
    app = workshop(house)
    client = await house.client(app)
    created = await client.schedules.create(
        "hourly", app.definitions["beat"], every=HOUR, catch_up="all", catch_up_limit=3, overlap="skip"
    )
    assert created.next_at is not None
    await house.advance(created.next_at - await now(house) + 49 * HOUR + timedelta(minutes=5))
    await house.worker(app)
    # Skip or not: what was missed is made up for, one after another.
    await made(house, "hourly", 3)
    assert await ticks_of(house, "hourly") == [created.next_at + n * HOUR for n in (47, 48, 49)]
    assert (await client.schedules.get("hourly")).missed == 47


async def test_a_clock_that_jumps_ahead_and_back_loses_and_doubles_nothing(house: House) -> None:
    app = workshop(house)
    client = await house.client(app)
    await house.worker(app)
    created = await client.schedules.create(
        "hourly", app.definitions["beat"], every=HOUR, catch_up="all", overlap="allow"
    )
    first = created.next_at
    assert first is not None
    await house.advance(first - await now(house) + 2 * HOUR + timedelta(minutes=1))
    await made(house, "hourly", 3)
    await house.advance(-2 * HOUR)
    await house.advance(90 * timedelta(minutes=1))
    await house.advance(3 * HOUR)
    await made(house, "hourly", 5)
    assert await ticks_of(house, "hourly") == [first + n * HOUR for n in range(5)]
    assert (await client.schedules.get("hourly")).next_at == first + 5 * HOUR
    await house.check_invariants()


# ---- overlap


async def hourly(house: House, client: Client, app: App, **options: Any) -> datetime:
    """A schedule of the waiting workflow whose first tick has made a run; gives the tick."""
    created = await client.schedules.create("hourly", app.definitions["waits"], every=HOUR, **options)
    assert created.next_at is not None
    await house.advance(created.next_at - await now(house) + timedelta(seconds=1))
    await made(house, "hourly", 1)
    return created.next_at


async def test_skip_lets_a_tick_pass_while_a_run_goes_on(house: House) -> None:
    app = workshop(house)
    client = await house.client(app)
    await house.worker(app)
    first = await hourly(house, client, app)
    run = await running(client, house, "hourly")
    await house.advance(HOUR)
    await house.until("select skipped = 1 from holdfast.schedule")
    await client.get(run).signal(go, 1)
    await client.get(run).result(timeout=SOON)
    await house.advance(HOUR)
    await made(house, "hourly", 2)
    assert await ticks_of(house, "hourly") == [first, first + 2 * HOUR]


async def test_a_queue_moves_when_the_run_before_has_ended(house: House) -> None:
    app = workshop(house)
    client = await house.client(app)
    await house.worker(app)
    first = await hourly(house, client, app, overlap="queue")
    await running(client, house, "hourly")
    for count in (1, 2):
        await house.advance(HOUR)
        await house.until("select cardinality(queued) = $1 from holdfast.schedule", count)
    assert (await client.schedules.get("hourly")).queued == (first + HOUR, first + 2 * HOUR)
    for count in (2, 3):
        run = await running(client, house, "hourly")
        await client.get(run).signal(go, count)
        await made(house, "hourly", count)
    assert await ticks_of(house, "hourly") == [first, first + HOUR, first + 2 * HOUR]
    await house.check_invariants()


async def test_allow_starts_one_beside_the_other(house: House) -> None:
    app = workshop(house)
    client = await house.client(app)
    await house.worker(app)
    await hourly(house, client, app, overlap="allow")
    await house.advance(HOUR)
    await made(house, "hourly", 2)
    assert len((await client.schedules.get("hourly")).running) == 2


async def test_a_run_that_was_retried_still_goes_on_for_the_next_tick(house: House) -> None:
    app = workshop(house)
    attempts: list[int] = []

    @app.workflow
    async def fails_first() -> int:
        attempts.append(1)
        if len(attempts) == 1:
            raise ValueError("the first time")
        return await go.wait()

    client = await house.client(app)
    await house.worker(app)
    created = await client.schedules.create("hourly", fails_first, every=HOUR, overlap="skip")
    assert created.next_at is not None
    await house.advance(created.next_at - await now(house) + timedelta(seconds=1))
    await made(house, "hourly", 1)
    first = (await client.schedules.get("hourly")).last_run
    assert first is not None
    await house.until("select exists (select from holdfast.result where run_id = $1)", first)
    again = await client.get(first).retry()
    assert (await client.schedules.get("hourly")).running == (again.id,)
    await house.advance(HOUR)
    await house.until("select skipped = 1 from holdfast.schedule")
    assert (await client.schedules.get("hourly")).made == 1
    await house.check_invariants()


async def test_cancel_running_cancels_lets_it_clean_up_and_starts_the_next(house: House) -> None:
    app = workshop(house)
    cleaned: list[str] = []

    @app.activity
    async def clean() -> None:
        cleaned.append("up")

    @app.workflow
    async def tidy() -> int:
        try:
            return await go.wait()
        finally:
            await clean()

    client = await house.client(app)
    await house.worker(app)
    created = await client.schedules.create("hourly", tidy, every=HOUR, overlap="cancel_running")
    assert created.next_at is not None
    await house.advance(created.next_at - await now(house) + timedelta(seconds=1))
    await made(house, "hourly", 1)
    first = await running(client, house, "hourly")
    await house.advance(HOUR)
    await made(house, "hourly", 2)
    assert await client.get(first).status() is RunStatus.CANCELLED
    assert cleaned == ["up"]
    assert await running(client, house, "hourly") != first
    await house.check_invariants()


# ---- pause, trigger


async def test_what_would_have_been_due_while_it_was_paused_is_not_made_up_for(house: House) -> None:
    app = workshop(house)
    client = await house.client(app)
    await house.worker(app)
    created = await client.schedules.create(
        "hourly", app.definitions["beat"], every=HOUR, catch_up="all", overlap="allow", paused=True
    )
    assert (created.status, created.next_at is not None) == ("paused", True)
    assert created.next_at is not None
    await house.advance(5 * HOUR)
    await client.schedules.resume("hourly")
    await house.until("select next_at > holdfast.now() from holdfast.schedule")
    assert (await client.schedules.get("hourly")).made == 0
    await house.advance(HOUR)
    await made(house, "hourly", 1)
    assert await ticks_of(house, "hourly") == [created.next_at + 5 * HOUR]
    assert (await client.schedules.pause("hourly")).status == "paused"


async def test_a_trigger_starts_a_run_now_and_disturbs_no_tick(house: House) -> None:
    app = workshop(house)
    client = await house.client(app)
    await house.worker(app)
    first = await hourly(house, client, app, overlap="skip")
    before = await client.schedules.get("hourly")
    extra = await client.schedules.trigger("hourly")
    assert await client.schedules.get("hourly") == before
    run = await running(client, house, "hourly")
    assert run != extra.id
    await client.get(run).signal(go, 1)
    await client.get(run).result(timeout=SOON)
    # It goes on, and the next tick is not skipped for it.
    await house.advance(HOUR)
    await made(house, "hourly", 2)
    assert await ticks_of(house, "hourly") == [first, first + HOUR]
    await extra.signal(go, 7)
    assert await extra.result(timeout=SOON) == 7
    note = app.definitions["note"]
    await client.schedules.create("paused", note, every=HOUR, tick_parameter="at", paused=True)
    told = await (await client.schedules.trigger("paused")).result(timeout=SOON)
    assert abs(datetime.fromisoformat(told.split()[1]) - await now(house)) < timedelta(minutes=1)


# ---- schedules in code


async def status(client: Client, name: str) -> Schedule:
    return await client.schedules.get(name)


def versioned(house: House, when: str | None) -> App:
    """An app whose workflow has this schedule, or none."""
    app = house.app()

    @app.activity
    async def beat() -> None: ...

    if when is not None:
        app.schedule(when)(beat)
    return app


async def assertions_are_old(house: House) -> None:
    """As if everybody had said long ago what his code has."""
    await house.db.execute("update holdfast.schedule set asserted_at = asserted_at - interval '1 hour'")


async def look(house: House) -> None:
    """Has all schedulers look at everything anew, one after another, and waits until they have."""
    for scheduler in SCHEDULERS:
        scheduler.begin()
        await eventually(partial(has_looked, scheduler), "a scheduler has looked")


def has_looked(scheduler: Any) -> bool:
    return bool(scheduler._census_at)


SCHEDULERS: list[Any] = []


async def working(house: House, app: App) -> Any:
    """A worker, and its scheduler among those that can be asked to look."""
    worker = app.worker(skip_warm_up=True, lease=timedelta(seconds=2), poll=timedelta(milliseconds=200))
    await worker.__aenter__()
    SCHEDULERS.append(worker._scheduler)
    await house.until(
        "select count(*) = $1 from holdfast.worker where state = 'active'",
        sum(1 for one in SCHEDULERS if not one._stopping),
    )
    return worker


async def leaves(worker: Any) -> None:
    await worker.__aexit__(None, None, None)
    SCHEDULERS.remove(worker._scheduler)


@pytest.fixture(autouse=True)
def _no_schedulers() -> Any:
    SCHEDULERS.clear()
    yield
    SCHEDULERS.clear()


async def test_while_two_versions_run_the_newer_one_counts_and_a_restart_of_the_older_one_changes_nothing(
    house: House,
) -> None:
    client = await house.client(versioned(house, None))
    when = "select said from holdfast.schedule"
    old = await working(house, versioned(house, "0 4 * * *"))
    await house.until(f"{when.replace('said', 'said = $1')}", "0 4 * * *")
    new = await working(house, versioned(house, "0 5 * * *"))
    await house.until("select said = $1 from holdfast.schedule", "0 5 * * *")
    revision = await house.value("select revision from holdfast.schedule")
    # The older code starts again, as it does when a process of it dies before the deploy is over.
    again = await working(house, versioned(house, "0 4 * * *"))
    await look(house)
    assert await house.value("select revision from holdfast.schedule") == revision
    # The deploy is taken back: the older code counts again.
    await leaves(new)
    await look(house)
    await house.until("select said = $1 from holdfast.schedule", "0 4 * * *")
    found = await status(client, "beat")
    assert found.next_at is not None
    assert (found.status, found.next_at.hour) == ("active", 4)
    for worker in (old, again):
        await leaves(worker)


async def test_one_that_no_live_worker_has_in_its_code_becomes_inactive_and_not_before(house: House) -> None:
    client = await house.client(versioned(house, None))
    old = await working(house, versioned(house, "0 4 * * *"))
    await house.until("select count(*) = 1 from holdfast.schedule")
    await assertions_are_old(house)
    new = await working(house, versioned(house, None))
    await look(house)
    assert (await status(client, "beat")).status == "active"
    await leaves(old)
    await look(house)
    await house.until("select not active and retired_at is not null from holdfast.schedule where name = 'beat'")
    assert (await status(client, "beat")).status == "inactive"
    # An operator may now delete it; while it was in live code he could not.
    await client.schedules.delete("beat")
    await leaves(new)


async def test_one_whose_workers_were_away_catches_up_and_one_that_was_taken_out_begins_anew(house: House) -> None:
    app = house.app()

    @app.activity
    async def beat() -> None: ...

    app.schedule(every=HOUR, catch_up="all", overlap="allow")(beat)
    other = house.app()

    @other.activity
    async def unrelated() -> None: ...

    first = await working(house, app)
    await house.until("select count(*) = 1 from holdfast.schedule")
    await assertions_are_old(house)
    bystander = await working(house, other)
    await leaves(first)
    await look(house)
    # Nobody has its code, and nobody has taken it out: it is only away.
    await house.until("select not active and retired_at is null from holdfast.schedule")
    due = await house.value("select next_at from holdfast.schedule")
    await house.advance(due - await now(house) + 2 * HOUR + timedelta(minutes=5))
    second = await working(house, app)
    await made(house, "beat", 3)
    assert await ticks_of(house, "beat") == [due + n * HOUR for n in range(3)]
    await assertions_are_old(house)
    without = await working(house, versioned(house, None))
    await leaves(second)
    await look(house)
    await house.until("select retired_at is not null from holdfast.schedule")
    await house.db.execute("update holdfast.schedule set retired_at = retired_at - interval '1 day'")
    await house.advance(5 * HOUR)
    third = await working(house, app)
    await house.until("select active from holdfast.schedule")
    await house.advance(HOUR)
    await made(house, "beat", 4)
    assert await ticks_of(house, "beat") == [*(due + n * HOUR for n in range(3)), due + 8 * HOUR]
    for worker in (bystander, without, third):
        await leaves(worker)
    await house.check_invariants()


async def test_one_that_a_client_has_made_is_not_taken_over_by_code(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    app = versioned(house, "0 4 * * *")
    client = await house.client(app)
    await client.schedules.create("beat", "beat", "0 9 * * *")
    await house.worker(app)
    await client.schedules.create("after", "beat", every=timedelta(seconds=1))
    await made(house, "after", 1)
    assert (await status(client, "beat")).when == "0 9 * * *"
    assert "schedule 'beat' in the code is not used: a client has made one of that name" in caplog.text


# ---- several processes


async def test_of_two_schedulers_one_is_killed_again_and_again_and_every_tick_makes_one_run(house: House) -> None:
    module = "tests.apps.clockwork"

    async def process() -> Any:
        started = await house.process(module, "--lease", "2s", "--poll", "200ms")
        await started.name()
        return started

    stays, falls = await process(), await process()
    for count in (2, 4, 6):
        await made(house, "chime", count)
        await falls.kill()
        await made(house, "chime", count + 1)
        falls = await process()
    # And once there is none for some ticks.
    await falls.kill()
    await stays.kill()
    reached = await house.value("select next_at from holdfast.schedule where name = 'chime'")
    await house.until("select holdfast.now() > $1", reached + timedelta(seconds=3))
    last = await process()
    await house.until("select next_at > $1 from holdfast.schedule where name = 'chime'", reached + timedelta(seconds=4))
    await house.db.execute("update holdfast.schedule set paused = true, revision = revision + 1")
    ticks = await ticks_of(house, "chime")
    # None is missing, and none came twice: each second from the first to the last.
    assert ticks == [ticks[0] + n * timedelta(seconds=1) for n in range(len(ticks))]
    assert len(ticks) >= 10
    await house.until("select not exists (select from holdfast.task)")
    outputs = await house.db.fetch("select e.output #>> '{}' as at from holdfast.result e where e.status = 1")
    assert sorted(datetime.fromisoformat(row["at"]) for row in outputs) == ticks
    await house.check_invariants()
    await last.end()


async def test_a_scheduler_whose_connection_is_lost_goes_on(house: House) -> None:
    app = workshop(house)
    client = await house.client(app)
    await house.worker(app)
    await client.schedules.create(
        "often", app.definitions["beat"], every=timedelta(seconds=1), catch_up="all", overlap="allow"
    )
    for count in (1, 3):
        await made(house, "often", count)
        killed = await house.value(
            "select count(pg_terminate_backend(pid)) from pg_stat_activity "
            "where application_name like $1 and datname = current_database()",
            "holdfast schedules%",
        )
        assert killed == 1
    await made(house, "often", 5)
    ticks = await ticks_of(house, "often")
    assert ticks == [ticks[0] + n * timedelta(seconds=1) for n in range(len(ticks))]
    await house.check_invariants()


async def test_a_schedule_that_waits_for_somebodys_lock_holds_up_no_other(house: House) -> None:
    app = workshop(house)
    client = await house.client(app)
    # Nobody executes anything, so that no one but the test has a lock.
    other = house.app()

    @other.activity
    async def unrelated() -> None: ...

    await house.worker(other)
    every = timedelta(seconds=1)
    await client.schedules.create("stuck", app.definitions["beat"], every=every, overlap="cancel_running")
    await made(house, "stuck", 1)
    async with house.db.transaction():
        first = await house.value("select run_id from holdfast.task for update")
        await client.schedules.create("free", app.definitions["beat"], every=every, overlap="allow")
        looking = await client._context.database.call(lambda session: _until_made(session, "free", 3))
        assert looking
        assert (await client.schedules.get("stuck")).made == 1
    await made(house, "stuck", 2)
    await house.until("select status = 'cancelled' from holdfast.runs where id = $1", first)
    await house.check_invariants()


async def _until_made(session: Any, name: str, count: int) -> bool:
    async def look() -> bool:
        query = "select made >= $2 from holdfast.schedule where name = $1"
        return bool(await session.connection.fetchval(query, name, count))

    return bool(await until(look, f"{name} has made {count}", patience=40))


# ---- what cannot be


def test_what_cannot_be_scheduled_is_refused_where_it_is_written() -> None:
    app = App()

    @app.workflow
    async def flow(name: str, at: datetime, count: int = 1) -> None: ...

    with pytest.raises(InvalidSchedule, match="at character 1: '61' is not a minute"):
        app.schedule("61 * * * *")(flow)
    with pytest.raises(DefinitionError, match="name"):
        app.schedule("0 0 * * *", tick_parameter="at")(flow)
    with pytest.raises(DefinitionError, match="has no such parameter; it has: name, at, count"):
        app.schedule("0 0 * * *", tick_parameter="when", input={"name": "x"})(flow)
    with pytest.raises(DefinitionError, match="count"):
        app.schedule("0 0 * * *", tick_parameter="count", input={"name": "x", "at": "2024-01-01T00:00Z"})(flow)
    with pytest.raises(DefinitionError, match="'at' gets the time of the tick"):
        app.schedule("0 0 * * *", tick_parameter="at", input={"name": "x", "at": "2024-01-01T00:00Z"})(flow)
    with pytest.raises(DefinitionError, match="overlap is 'both': use one of skip, queue, allow, cancel_running"):
        app.schedule("0 0 * * *", input={}, overlap="both")(flow)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    with pytest.raises(DefinitionError, match="each would cancel the one before"):
        app.schedule("0 0 * * *", overlap="cancel_running", catch_up="all")(flow)
    with pytest.raises(DefinitionError, match=r"end is .* which is not later than the start"):
        app.schedule(every=HOUR, start=datetime(2024, 1, 2, tzinfo=UTC), end=datetime(2024, 1, 1, tzinfo=UTC))(flow)
    with pytest.raises(DefinitionError, match="use a year from 1900"):
        app.schedule(every=HOUR, start=datetime.min.replace(tzinfo=UTC))(flow)
    with pytest.raises(DefinitionError, match="without a time zone"):
        app.schedule("0 0 * * *", end=datetime(2030, 1, 1))(flow)  # noqa: DTZ001
    with pytest.raises(DefinitionError, match="above @app"):
        app.schedule("0 0 * * *")(print)  # type: ignore[type-var]  # pyright: ignore[reportArgumentType]
    with pytest.raises(DefinitionError, match="is not of this app"):
        App().schedule("0 0 * * *")(flow)
    app.schedule("0 0 * * *", input={"name": "x"}, tick_parameter="at")(flow)
    with pytest.raises(DefinitionError, match="there is a schedule 'flow' already"):
        app.schedule("0 1 * * *", input={"name": "x"}, tick_parameter="at")(flow)
    app.schedule("0 1 * * *", input={"name": "x"}, tick_parameter="at", name="other")(flow)
    whole = App()
    whole.include(app)
    assert set(whole._timetable.terms) == {"flow", "other"}


async def test_two_workers_of_one_process_stop_in_order_and_leave_nothing_running(house: House) -> None:
    app = workshop(house)
    client = await house.client(app)
    await client.schedules.create("soon", app.definitions["beat"], every=timedelta(seconds=1), overlap="allow")
    async with app.worker(skip_warm_up=True), app.worker(skip_warm_up=True):
        await made(house, "soon", 1)
    names = {task.get_name() for task in asyncio.all_tasks()}
    assert not [name for name in names if "schedules" in name]
    await house.until(
        "select count(*) = 0 from pg_stat_activity "
        "where application_name like 'holdfast schedules%' and datname = current_database()"
    )
    await house.check_invariants()
