"""What a worker says that cannot begin: the cause, and what to do about it."""

from __future__ import annotations

import pytest

from holdfast import AccessDenied, App, ConfigurationError, DatabaseUnavailable, SchemaMismatch
from holdfast.embedded import EmbeddedPostgres
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
