"""The same transactional activities in each library: what is to hold of them holds whatever they speak."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import psycopg
from sqlalchemy import NullPool, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from holdfast import App, Connection, Retry, activity_info
from holdfast.core.isolation import IsolationLevel
from holdfast.integrations.django import Django
from holdfast.integrations.sqlalchemy import SQLAlchemy

ONCE = Retry(max_attempts=1)

ENDED = "has ended its transaction by itself"

TABLES = """
create table note (id int generated always as identity primary key, text text not null);
create table account (name text primary key, amount int not null);
insert into account values ('ada', 0);
"""


class Refused(Exception):
    """What activities raise."""


@dataclass(frozen=True)
class Way:
    """A library, and an app whose activities use it."""

    name: str
    make: Callable[[App, Any, Retry, IsolationLevel | None], None]
    """Registers ``write(text)``, ``refuse(text)``, ``commits()``, ``rolls_back()``, ``says(sql)`` and ``adds()``."""
    library: Callable[[str], Any] = lambda _dsn: True
    """What ``transactional=`` is, for this database."""
    commits_words: str = ENDED
    """What is said to an activity that commits with the means of its library."""
    rolls_back_words: str = ENDED
    """What is said to one that rolls back."""

    @property
    def cancels_with_libpq(self) -> bool:
        """Whether it is psycopg, on the loop, that has the server cancel a statement."""
        return self.name == "psycopg" or self.name.endswith(("over psycopg", "my engine"))


def with_asyncpg(app: App, library: Any, retry: Retry, level: IsolationLevel | None) -> None:
    @app.activity(transactional=library, retry=retry, isolation_level=level)
    async def write(connection: Connection, text: str) -> str:
        await connection.execute("insert into note (text) values ($1)", text)
        return text

    @app.activity(transactional=library, retry=retry, isolation_level=level)
    async def refuse(connection: Connection, text: str) -> None:
        await connection.execute("insert into note (text) values ($1)", text)
        raise Refused(text)

    @app.activity(transactional=library, retry=retry)
    async def commits(connection: Connection) -> None:
        await connection.execute("insert into note (text) values ('too early')")
        await connection.execute("commit")

    @app.activity(transactional=library, retry=retry)
    async def rolls_back(connection: Connection) -> None:
        await connection.execute("insert into note (text) values ('before')")
        await connection.execute("rollback")
        await connection.execute("begin; insert into note (text) values ('after')")

    @app.activity(transactional=library, retry=retry)
    async def says(connection: Connection, sql: str) -> str:
        await connection.execute("insert into note (text) values ('says')")
        return str(await connection.fetchval(sql))

    @app.activity(transactional=library, retry=retry, isolation_level="repeatable read")
    async def adds(connection: Connection) -> int:
        amount = await connection.fetchval("select amount from account")
        await asyncio.sleep(0.03)
        await connection.execute("update account set amount = $1", amount + 1)
        return activity_info().attempt


def with_psycopg(app: App, library: Any, retry: Retry, level: IsolationLevel | None) -> None:
    @app.activity(transactional=library, retry=retry, isolation_level=level)
    async def write(connection: psycopg.AsyncConnection[Any], text: str) -> str:
        await connection.execute("insert into note (text) values (%s)", [text])
        return text

    @app.activity(transactional=library, retry=retry, isolation_level=level)
    async def refuse(connection: psycopg.AsyncConnection[Any], text: str) -> None:
        await connection.execute("insert into note (text) values (%s)", [text])
        raise Refused(text)

    @app.activity(transactional=library, retry=retry)
    async def commits(connection: psycopg.AsyncConnection[Any]) -> None:
        await connection.execute("insert into note (text) values ('too early')")
        await connection.commit()

    @app.activity(transactional=library, retry=retry)
    async def rolls_back(connection: psycopg.AsyncConnection[Any]) -> None:
        await connection.execute("insert into note (text) values ('before')")
        await connection.rollback()

    @app.activity(transactional=library, retry=retry)
    async def says(connection: psycopg.AsyncConnection[Any], sql: str) -> str:
        await connection.execute("insert into note (text) values ('says')")
        cursor = await connection.execute(sql.encode())
        row = await cursor.fetchone() if cursor.description else None
        return str(row and row[0])

    @app.activity(transactional=library, retry=retry, isolation_level="repeatable read")
    async def adds(connection: psycopg.AsyncConnection[Any]) -> int:
        row = await (await connection.execute("select amount from account")).fetchone()
        assert row is not None
        await asyncio.sleep(0.03)
        await connection.execute("update account set amount = %s", [row[0] + 1])
        return activity_info().attempt


def with_blocking_psycopg(app: App, library: Any, retry: Retry, level: IsolationLevel | None) -> None:
    @app.activity(transactional=library, retry=retry, isolation_level=level)
    def write(connection: psycopg.Connection[Any], text: str) -> str:
        connection.execute("insert into note (text) values (%s)", [text])
        return text

    @app.activity(transactional=library, retry=retry, isolation_level=level)
    def refuse(connection: psycopg.Connection[Any], text: str) -> None:
        connection.execute("insert into note (text) values (%s)", [text])
        raise Refused(text)

    @app.activity(transactional=library, retry=retry)
    def commits(connection: psycopg.Connection[Any]) -> None:
        connection.execute("insert into note (text) values ('too early')")
        connection.commit()

    @app.activity(transactional=library, retry=retry)
    def rolls_back(connection: psycopg.Connection[Any]) -> None:
        connection.execute("insert into note (text) values ('before')")
        connection.rollback()

    @app.activity(transactional=library, retry=retry)
    def says(connection: psycopg.Connection[Any], sql: str) -> str:
        connection.execute("insert into note (text) values ('says')")
        cursor = connection.execute(sql.encode())
        row = cursor.fetchone() if cursor.description else None
        return str(row and row[0])

    @app.activity(transactional=library, retry=retry, isolation_level="repeatable read")
    def adds(connection: psycopg.Connection[Any]) -> int:
        row = connection.execute("select amount from account").fetchone()
        assert row is not None
        time.sleep(0.03)
        connection.execute("update account set amount = %s", [row[0] + 1])
        return activity_info().attempt


class Base(DeclarativeBase):
    pass


class Note(Base):
    __tablename__ = "note"
    id: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str]


class Account(Base):
    __tablename__ = "account"
    name: Mapped[str] = mapped_column(primary_key=True)
    amount: Mapped[int]


def with_session(app: App, library: Any, retry: Retry, level: IsolationLevel | None) -> None:
    @app.activity(transactional=library, retry=retry, isolation_level=level)
    async def write(session: AsyncSession, text: str) -> str:
        # Said to the database when the session is flushed.
        session.add(Note(text=text))
        return text

    @app.activity(transactional=library, retry=retry, isolation_level=level)
    async def refuse(session: AsyncSession, text: str) -> None:
        session.add(Note(text=text))
        await session.flush()
        raise Refused(text)

    @app.activity(transactional=library, retry=retry)
    async def commits(session: AsyncSession) -> None:
        session.add(Note(text="too early"))
        await session.commit()

    @app.activity(transactional=library, retry=retry)
    async def rolls_back(session: AsyncSession) -> None:
        session.add(Note(text="before"))
        await session.flush()
        await session.rollback()
        session.add(Note(text="after"))

    @app.activity(transactional=library, retry=retry)
    async def says(session: AsyncSession, sql: str) -> str:
        session.add(Note(text="says"))
        result = await session.execute(text(sql))
        return str(result.scalar() if result.returns_rows else None)  # type: ignore[attr-defined]

    @app.activity(transactional=library, retry=retry, isolation_level="repeatable read")
    async def adds(session: AsyncSession) -> int:
        account = await session.get_one(Account, "ada")
        await asyncio.sleep(0.03)
        account.amount += 1
        return activity_info().attempt


def with_connection(app: App, library: Any, retry: Retry, level: IsolationLevel | None) -> None:
    insert = text("insert into note (text) values (:text)")

    @app.activity(transactional=library, retry=retry, isolation_level=level)
    async def write(connection: AsyncConnection, text: str) -> str:
        await connection.execute(insert, {"text": text})
        return text

    @app.activity(transactional=library, retry=retry, isolation_level=level)
    async def refuse(connection: AsyncConnection, text: str) -> None:
        await connection.execute(insert, {"text": text})
        raise Refused(text)

    @app.activity(transactional=library, retry=retry)
    async def commits(connection: AsyncConnection) -> None:
        await connection.execute(insert, {"text": "too early"})
        await connection.commit()

    @app.activity(transactional=library, retry=retry)
    async def rolls_back(connection: AsyncConnection) -> None:
        await connection.execute(insert, {"text": "before"})
        await connection.rollback()
        await connection.execute(insert, {"text": "after"})

    @app.activity(transactional=library, retry=retry)
    async def says(connection: AsyncConnection, sql: str) -> str:
        await connection.execute(insert, {"text": "says"})
        result = await connection.execute(text(sql))
        return str(result.scalar() if result.returns_rows else None)

    @app.activity(transactional=library, retry=retry, isolation_level="repeatable read")
    async def adds(connection: AsyncConnection) -> int:
        amount = (await connection.execute(text("select amount from account"))).scalar_one()
        await asyncio.sleep(0.03)
        await connection.execute(text("update account set amount = :amount"), {"amount": amount + 1})
        return activity_info().attempt


def with_django(app: App, library: Any, retry: Retry, level: IsolationLevel | None) -> None:
    @app.activity(transactional=library, retry=retry, isolation_level=level)
    def write(connection: Any, text: str) -> str:
        # A model knows its connection by itself: it is the one of this thread.
        django_models()["note"].objects.create(text=text)
        return text

    @app.activity(transactional=library, retry=retry, isolation_level=level)
    def refuse(connection: Any, text: str) -> None:
        django_models()["note"].objects.create(text=text)
        raise Refused(text)

    @app.activity(transactional=library, retry=retry)
    def commits(connection: Any) -> None:
        django_models()["note"].objects.create(text="too early")
        connection.commit()

    @app.activity(transactional=library, retry=retry)
    def rolls_back(connection: Any) -> None:
        django_models()["note"].objects.create(text="before")
        connection.rollback()

    @app.activity(transactional=library, retry=retry)
    def says(connection: Any, sql: str) -> str:
        django_models()["note"].objects.create(text="says")
        with connection.cursor() as cursor:
            cursor.execute(sql)
            return str(cursor.fetchone()[0] if cursor.description else None)

    @app.activity(transactional=library, retry=retry, isolation_level="repeatable read")
    def adds(connection: Any) -> int:
        account = django_models()["account"].objects.get(name="ada")
        time.sleep(0.03)
        account.amount += 1
        account.save()
        return activity_info().attempt


_models: dict[str, Any] = {}


def django_models() -> dict[str, Any]:
    """Django's models of the tables, once Django knows of a database."""
    if not _models:
        models = import_module("django.db.models")

        def model(table: str, **fields: Any) -> Any:
            meta = type("Meta", (), {"app_label": "tests", "db_table": table})
            return type(table.title(), (models.Model,), {"__module__": __name__, "Meta": meta, **fields})

        _models["note"] = model("note", text=models.TextField())
        _models["account"] = model("account", name=models.TextField(primary_key=True), amount=models.IntegerField())
    return _models


def set_up_django(dsn: str) -> None:
    """Django in this process, and its default database: this one, for threads that have no connection yet."""
    parts = urlsplit(dsn)
    query = {name: values[0] for name, values in parse_qs(parts.query).items()}
    database = {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": parts.path.lstrip("/"),
        "USER": unquote(parts.username or query.get("user", "")),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": query.get("host", parts.hostname or ""),
        "PORT": str(query.get("port", parts.port or "")),
        "OPTIONS": {"application_name": "holdfast transactions of Django"},
    }
    conf: Any = import_module("django.conf")
    if not conf.settings.configured:
        conf.settings.configure(DATABASES={"default": database}, USE_TZ=True, INSTALLED_APPS=[])
        import_module("django").setup()
    connections: Any = import_module("django.db").connections
    connections.databases["default"].update(database)
    if hasattr(connections._connections, "default"):
        connections["default"].close()
        del connections["default"]


def of_django(dsn: str) -> Django:
    set_up_django(dsn)
    return Django()


def arguments(dsn: str, driver: str) -> dict[str, Any]:
    """The words of a URL as a driver takes them."""
    parts = urlsplit(dsn)
    query = {name: values[0] for name, values in parse_qs(parts.query).items()}
    return {
        "user": parts.username or query.get("user"),
        "host": query.get("host", parts.hostname),
        "port": int(query.get("port", parts.port or 5432)),
        ("database" if driver == "asyncpg" else "dbname"): parts.path.lstrip("/"),
    }


@asynccontextmanager
async def engine(dsn: str, driver: str) -> AsyncGenerator[AsyncEngine]:
    """An engine of the user's own."""
    made = create_async_engine(f"postgresql+{driver}://", connect_args=arguments(dsn, driver))
    try:
        yield made
    finally:
        await made.dispose()


IN_ATOMIC = "forbidden when an 'atomic' block is active"


class MySession(AsyncSession):
    """A class of the user's."""


def of_my_engine(dsn: str) -> SQLAlchemy:
    """The user's engine and sessions."""
    made = create_async_engine("postgresql+psycopg://", connect_args=arguments(dsn, "psycopg"), poolclass=NullPool)
    return SQLAlchemy(engine=made, session=async_sessionmaker(class_=MySession))


WAYS = [
    Way("asyncpg", with_asyncpg),
    Way("psycopg", with_psycopg, commits_words="Explicit commit", rolls_back_words="Explicit rollback"),
    Way(
        "psycopg in threads",
        with_blocking_psycopg,
        commits_words="Explicit commit",
        rolls_back_words="Explicit rollback",
    ),
    Way("a session over asyncpg", with_session, commits_words="must not commit by itself"),
    Way("a connection over asyncpg", with_connection, commits_words="must not commit by itself"),
    Way(
        "a session over psycopg",
        with_session,
        lambda _dsn: SQLAlchemy(driver="psycopg"),
        commits_words="must not commit by itself",
    ),
    Way(
        "a connection over psycopg",
        with_connection,
        lambda _dsn: SQLAlchemy(driver="psycopg"),
        commits_words="must not commit by itself",
    ),
    Way("a session of my engine", with_session, of_my_engine, commits_words="must not commit by itself"),
    Way("Django", with_django, of_django, commits_words=IN_ATOMIC, rolls_back_words=IN_ATOMIC),
]
