"""Which library an activity means, and what is said where that cannot be known. What is not used is not imported."""

from __future__ import annotations

import subprocess
import sys
from datetime import timedelta
from typing import Any

import psycopg
import pytest
import sqlalchemy
from django.db.backends.base.base import BaseDatabaseWrapper  # type: ignore[import-untyped]
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from holdfast import App, Connection, DefinitionError, RunFailed
from holdfast.integrations.asyncpg import Asyncpg
from holdfast.integrations.django import Django
from holdfast.integrations.psycopg import Psycopg
from holdfast.integrations.sqlalchemy import SQLAlchemy
from tests.house import ROOT, House
from tests.integrations.ways import ONCE, TABLES, WAYS, Way, engine
from tests.integrations.ways import of_django as django_of


async def of_anything(connection: Any, amount: int) -> None: ...
async def of_asyncpg(connection: Connection) -> None: ...
async def of_psycopg(connection: psycopg.AsyncConnection) -> None: ...
async def of_psycopg_with_rows(connection: psycopg.AsyncConnection[dict[str, Any]]) -> None: ...
def of_psycopg_that_blocks(connection: psycopg.Connection[Any]) -> None: ...
async def of_a_session(session: AsyncSession) -> None: ...
async def of_a_connection(connection: AsyncConnection) -> None: ...
def of_django(connection: BaseDatabaseWrapper) -> None: ...


class MySession(AsyncSession):
    pass


async def of_a_session_of_ones_own(session: MySession) -> None: ...


@pytest.mark.parametrize(
    ("fn", "library"),
    [
        (of_anything, Asyncpg()),
        (of_asyncpg, Asyncpg()),
        (of_psycopg, Psycopg()),
        (of_psycopg_with_rows, Psycopg()),
        (of_psycopg_that_blocks, Psycopg(gives="blocking")),
        (of_a_session, SQLAlchemy()),
        (of_a_session_of_ones_own, SQLAlchemy()),
        (of_a_connection, SQLAlchemy(gives="connection")),
        (of_django, Django()),
    ],
)
def test_the_annotation_says_it(fn: Any, library: Any) -> None:
    made = App().activity(transactional=True)(fn)
    assert made.transactional is not None
    assert made.transactional.library == library


def test_options_are_kept_where_the_annotation_says_more() -> None:
    app = App()
    made: Any = app.activity(transactional=Psycopg(prepare_threshold=None))(of_psycopg_that_blocks)
    assert made.transactional.library == Psycopg(prepare_threshold=None, gives="blocking")
    made = app.activity(transactional=SQLAlchemy(driver="psycopg"))(of_a_connection)
    assert made.transactional.library == SQLAlchemy(driver="psycopg", gives="connection")


async def of_a_blocking_connection(connection: psycopg.Connection[Any]) -> None: ...
def of_an_async_one(connection: psycopg.AsyncConnection[Any]) -> None: ...
async def of_django_in_a_coroutine(connection: BaseDatabaseWrapper) -> None: ...
async def of_a_cursor(cursor: psycopg.AsyncCursor[Any]) -> None: ...
async def of_an_engine(engine: sqlalchemy.Engine) -> None: ...
async def of_a_number(connection: int) -> None: ...


@pytest.mark.parametrize(
    ("fn", "words"),
    [
        (of_a_blocking_connection, "with a connection of psycopg that blocks it has to be a plain `def`"),
        (of_an_async_one, "with a connection of psycopg it has to be an `async def`"),
        (of_django_in_a_coroutine, "with a connection of Django it has to be a plain `def`"),
        (of_a_cursor, "AsyncCursor is none that is known.* annotate it with a holdfast.Connection"),
        (of_an_engine, "Engine is none that is known"),
        (of_a_number, "int is none that is known"),
    ],
)
def test_what_does_not_fit_is_refused_where_it_stands(fn: Any, words: str) -> None:
    with pytest.raises(DefinitionError, match=words):
        App().activity(transactional=True)(fn)


@pytest.mark.parametrize("library", ["psycopg", Psycopg, 1])
def test_what_is_no_library_is_refused(library: Any) -> None:
    with pytest.raises(DefinitionError, match=r"transactional= takes True, or a library such as Psycopg\(\)"):
        App().activity(transactional=library)(of_psycopg)


def test_options_that_cannot_be_are_refused() -> None:
    with pytest.raises(DefinitionError, match=r"Psycopg\(gives='both'\): use 'async' or 'blocking'"):
        Psycopg(gives="both")  # type: ignore[arg-type]
    with pytest.raises(DefinitionError, match=r"SQLAlchemy\(driver='psycopg2'\): use 'asyncpg' or 'psycopg'"):
        SQLAlchemy(driver="psycopg2")  # type: ignore[arg-type]
    with pytest.raises(DefinitionError, match=r"SQLAlchemy\(gives='cursor'\): use 'session' or 'connection'"):
        SQLAlchemy(gives="cursor")  # type: ignore[arg-type]


def in_a_new_process(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr
    return done.stdout.strip()


def test_who_uses_none_of_them_imports_none_of_them() -> None:
    code = """
import sys, holdfast, holdfast.cli.main, holdfast.worker.worker
app = holdfast.App()
@app.activity(transactional=True)
async def book(connection: holdfast.Connection) -> None: ...
print({"psycopg", "sqlalchemy", "django"} & {name.partition(".")[0] for name in sys.modules})
"""
    assert in_a_new_process(code) == "set()"


@pytest.mark.parametrize(
    ("library", "of", "annotation"),
    [
        ("psycopg", "Psycopg", "psycopg.AsyncConnection"),
        ("sqlalchemy", "SQLAlchemy", "sqlalchemy.ext.asyncio.AsyncSession"),
        ("django", "Django", "django.db.backends.base.base.BaseDatabaseWrapper"),
    ],
)
def test_one_that_is_not_installed_is_asked_for_with_the_command(library: str, of: str, annotation: str) -> None:
    code = f"""
import sys, importlib.machinery, holdfast
find = importlib.machinery.PathFinder.find_spec
sys.meta_path[:] = [one for one in sys.meta_path if one is not importlib.machinery.PathFinder]
class Without:
    @staticmethod
    def find_spec(name, path=None, target=None):
        return None if name.partition(".")[0] == "{library}" else find(name, path, target)
sys.meta_path.append(Without)
try:
    from holdfast.integrations.{library} import {of}
    {of}()
except ImportError as error:
    print(error)
app = holdfast.App()
try:
    @app.activity(transactional=True)
    def book(connection: "{annotation}") -> None: ...
except holdfast.DefinitionError as error:
    print(error)
"""
    first, second = in_a_new_process(code).splitlines()
    assert f"pip install 'holdfast[{library}]'" in first
    assert second.startswith("activity 'book': ")
    assert f"pip install 'holdfast[{library}]'" in second


@pytest.mark.parametrize(
    "way", [way for way in WAYS if way.name.startswith(("a session over", "Django"))], ids=lambda way: way.name
)
async def test_a_database_that_is_not_the_workers_is_refused(house: House, way: Way, empty_dsn: str) -> None:
    await house.db.execute(TABLES)
    app = house.app()
    async with engine(empty_dsn, "asyncpg") as elsewhere:
        library: Any = django_of(empty_dsn) if way.name == "Django" else SQLAlchemy(engine=elsewhere)
        way.make(app, library, ONCE, None)
        client = await house.client(app)
        await house.worker(app)
        write: Any = app.definitions["write"]
        run = await client.start(write.call("nowhere"))
        with pytest.raises(RunFailed, match="schema is missing or not complete"):
            await run.result(timeout=timedelta(seconds=20))
