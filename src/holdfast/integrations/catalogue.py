"""Which library is meant: by the annotation of an activity's first parameter, by a connection that a caller has."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, cast, get_args, get_origin

from holdfast.core.errors import DefinitionError
from holdfast.integrations.asyncpg import Asyncpg
from holdfast.integrations.foreign import not_known
from holdfast.integrations.library import Library
from holdfast.store.session import Session

if TYPE_CHECKING:
    import psycopg
    import sqlalchemy
    import sqlalchemy.orm
    from asyncpg.pool import PoolConnectionProxy
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession, async_scoped_session

    from holdfast.integrations.asyncpg import Connection
    from holdfast.integrations.library import DjangoConnection, DjangoConnectionProxy
    from holdfast.store.statements import Statements

    BlockingConnection: TypeAlias = (
        psycopg.Connection[Any]
        | sqlalchemy.Connection
        | sqlalchemy.orm.Session
        | sqlalchemy.orm.scoped_session[Any]
        | DjangoConnection
        | DjangoConnectionProxy
    )
    """The same of code that blocks: its thread waits meanwhile."""
    CallersConnection: TypeAlias = (
        Connection
        | PoolConnectionProxy[Any]
        | psycopg.AsyncConnection[Any]
        | AsyncConnection
        | AsyncSession
        | async_scoped_session[Any]
        | BlockingConnection
    )
    """A connection of the caller's own, in whose transaction something is to be done."""

T = TypeVar("T")

_TAKES = (
    "a holdfast.Connection (asyncpg), a psycopg.AsyncConnection or psycopg.Connection, an AsyncSession or "
    "AsyncConnection of sqlalchemy.ext.asyncio, or Django's BaseDatabaseWrapper"
)


def library_for(annotation: Any, what: str) -> Library:
    """The library whose connection this is; without an annotation it is asyncpg.

    Raises:
        DefinitionError: nobody here knows such a connection.
    """
    if annotation is None or annotation is Any:
        return Asyncpg()
    names = class_names(annotation)
    for root in (name.partition(".")[0] for name in names):
        match root:
            case "asyncpg":
                return Asyncpg()
            case "psycopg" | "sqlalchemy" | "django":
                found = _library_of(root, names, what)
                if found is not None:
                    return found
            case _:
                continue
    raise DefinitionError(
        f"{what}: its first parameter takes the connection, and {_shown(annotation)} is none that is known, or could "
        f"not be found because it is imported for type checkers only; annotate it with {_TAKES}"
    )


def _library_of(root: str, names: Sequence[str], what: str) -> Library | None:
    classes = {name.rpartition(".")[2] for name in names if name.startswith(root)}
    try:
        if root == "psycopg" and classes & {"AsyncConnection", "Connection"}:
            from holdfast.integrations.psycopg import Psycopg

            return Psycopg().fitted(names)
        if root == "sqlalchemy" and classes & {"AsyncConnection", "AsyncSession"}:
            from holdfast.integrations.sqlalchemy import SQLAlchemy

            return SQLAlchemy().fitted(names)
        if root == "django" and any("Wrapper" in name for name in classes):
            from holdfast.integrations.django import Django

            return Django()
    except ImportError as error:
        raise DefinitionError(f"{what}: {error}") from error
    return None


def session_over(connection: CallersConnection, statements: Statements) -> Session:
    """A session on a connection of the caller's.

    Raises:
        InvalidInput: nobody here knows such a connection.
    """
    # A library that nobody has imported has no connections.
    given: Any = of_this_thread(cast("Any", connection))
    names = class_names(type(given))
    roots = {name.partition(".")[0] for name in names}
    if "asyncpg" in roots:
        return Session(given, statements)
    if "psycopg" in roots:
        return _over_psycopg(given, statements)
    if "sqlalchemy" in roots:
        return _over_sqlalchemy(given, statements)
    if "django" in roots and hasattr(given, "inc_thread_sharing"):
        from holdfast.integrations.django import DjangoSession

        return DjangoSession(given, statements)
    raise not_known(connection)


def of_this_thread(connection: T) -> T:
    """What stands for a connection of the thread that asks, becomes it: ``django.db.connection``, a ``scoped_session``.

    To be asked in the caller's thread: in another one it would be another connection, and another transaction.
    """
    given: Any = connection
    match type(given).__name__:
        case "ConnectionProxy" if "_connections" in given.__dict__:
            return cast("T", given.__dict__["_connections"][given.__dict__["_alias"]])
        case "scoped_session" | "async_scoped_session" if type(given).__module__.startswith("sqlalchemy."):
            return cast("T", given())
        case _:
            return connection


def _over_psycopg(given: Any, statements: Statements) -> Session:
    import psycopg

    from holdfast.integrations.psycopg import BlockingPsycopgSession, PsycopgSession

    if isinstance(given, psycopg.AsyncConnection):
        return PsycopgSession(given, statements)  # pyright: ignore[reportUnknownArgumentType]
    if isinstance(given, psycopg.Connection):
        return BlockingPsycopgSession(given, statements)  # pyright: ignore[reportUnknownArgumentType]
    raise not_known(given)


def _over_sqlalchemy(given: Any, statements: Statements) -> Session:
    from sqlalchemy import Connection, orm
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

    from holdfast.integrations.sqlalchemy import BlockingSQLAlchemySession, SQLAlchemySession

    if isinstance(given, AsyncConnection | AsyncSession):
        return SQLAlchemySession(given, statements)
    if isinstance(given, Connection | orm.Session):
        return BlockingSQLAlchemySession(given, statements)
    raise not_known(given)


def class_names(annotation: Any) -> Sequence[str]:
    """The full names of the classes that it may be, those of their bases included."""
    if isinstance(annotation, str):
        # Imported for type checkers only: what stands there has to do.
        return re.findall(r"[\w.]+", annotation)
    origin = get_origin(annotation) or annotation
    names: list[str] = []
    if isinstance(origin, type):
        names += [f"{one.__module__}.{one.__qualname__}" for one in origin.__mro__[:-1]]
    for argument in get_args(annotation):
        if isinstance(argument, type):
            names += class_names(argument)
    return names


def _shown(annotation: Any) -> str:
    return annotation if isinstance(annotation, str) else getattr(annotation, "__qualname__", repr(annotation))
