"""What a worker says that cannot begin: the cause, and what to do about it."""

from __future__ import annotations

import pytest

from holdfast import AccessDenied, App, ConfigurationError, DatabaseUnavailable, SchemaMismatch
from holdfast.embedded import EmbeddedPostgres
from holdfast.store import work
from holdfast.store.session import Session
from holdfast.store.statements import Statements
from tests.house import QUICK, House


def app_at(dsn: str) -> App:
    """An app with one workflow, which does not set up its schema."""
    app = App(dsn, auto_setup=False)

    @app.workflow
    async def flow() -> None:
        return None

    return app


async def test_a_server_that_is_down() -> None:
    with pytest.raises(DatabaseUnavailable, match=r"cannot be reached: .*; check that the server runs"):
        await app_at("postgresql://127.0.0.1:1/nowhere").worker(**QUICK).run()


async def test_a_database_that_is_not_there(server: EmbeddedPostgres) -> None:
    with pytest.raises(DatabaseUnavailable, match=r'"nowhere" does not exist.*create it'):
        await app_at(server.dsn_for("nowhere")).worker(**QUICK).run()


async def test_a_database_without_the_schema(empty_dsn: str) -> None:
    with pytest.raises(SchemaMismatch, match="holdfast db setup"):
        await app_at(empty_dsn).worker(**QUICK).run()


async def test_a_user_without_the_rights(house: House) -> None:
    role = await house.value("select 'weak_' || current_database()")
    await house.db.execute(f"create role {role} login password 'weak'")
    try:
        await house.db.execute(f"grant usage on schema holdfast to {role}")
        parts = house.dsn.split("@")[-1] if "@" in house.dsn else house.dsn.split("://")[-1]
        dsn = f"postgresql://{role}:weak@{parts}"
        with pytest.raises(AccessDenied, match="holdfast db sql --roles"):
            await app_at(dsn).worker(**QUICK).run()
    finally:
        await house.db.execute(f"revoke usage on schema holdfast from {role}")
        await house.db.execute(f"drop role {role}")


async def test_an_app_without_anything_to_execute(house: House) -> None:
    with pytest.raises(ConfigurationError, match="neither workflows nor activities"):
        await house.app().worker(**QUICK).run()


async def test_settings_that_cannot_work_are_all_named_at_once(house: House) -> None:
    with pytest.raises(ConfigurationError) as caught:
        house.app().worker(lane="two words", parallelism_factor=0, max_threads=0)
    assert len(caught.value.mistakes) == 3
    for name in ("lane", "parallelism_factor", "max_threads"):
        assert name in str(caught.value)


async def test_a_server_without_enough_connections(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    async def nearly_none(session: Session) -> tuple[int, int]:
        return 1, 100

    monkeypatch.setattr(work, "free_connections", nearly_none)
    needs = r"needs up to 6 connections and the server has 2 left of max_connections = 100: raise max_connections"
    with pytest.raises(ConfigurationError, match=needs):
        await app_at(house.dsn).worker(**QUICK).run()


async def test_the_server_says_how_many_connections_are_free(house: House) -> None:
    free, most = await work.free_connections(Session(house.db, Statements()))
    # At least the one that asks is taken.
    assert 0 < free < most == int(await house.value("show max_connections"))
