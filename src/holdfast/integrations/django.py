"""Django: the connection of a thread, inside ``transaction.atomic``."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Self, TypeVar

from holdfast.core.errors import HoldfastError
from holdfast.core.isolation import IsolationLevel
from holdfast.integrations.connections import Connections
from holdfast.integrations.foreign import ForeignSession, Rows, as_driver_error, as_pyformat, cut_off
from holdfast.integrations.thread import OwnThread, ThreadedCode

if TYPE_CHECKING:
    from holdfast.store.statements import Statement, Statements

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Django:
    """Transactional activities that work with Django's models: ordinary functions, each in a thread and in ``atomic``.

    ``transactional=True`` chooses it by itself where the first parameter is annotated with a ``BaseDatabaseWrapper``.

    Args:
        using: the alias of the database of the app in ``DATABASES``.
    """

    using: str = "default"

    def __post_init__(self) -> None:
        if find_spec("django") is None:
            raise ImportError("Django is needed for this; install the extra: pip install 'holdfast[django]'")

    @property
    def is_async(self) -> bool:
        """Its activities are ordinary functions."""
        return False

    def __str__(self) -> str:
        return "Django"

    def fitted(self, names: Sequence[str]) -> Self:
        """As it is."""
        return self

    def source(self, dsn: str, statements: Statements, *, application: str, size: int) -> _Source:
        """Threads, each with the connection that Django has for it, as its settings say."""
        return _Source(self.using, statements)


class DjangoSession(ForeignSession):
    """The store's statements over a connection of Django, from a thread in which that may be used."""

    def __init__(
        self, connection: Any, statements: Statements, do: Callable[[Callable[[], Any]], Any] | None = None
    ) -> None:
        super().__init__(connection, statements)
        self._django = connection
        self._do = do or self._elsewhere

    async def rows(self, statement: Statement, values: Mapping[str, object]) -> Rows:
        """In Django's own cursor."""

        def execute() -> Rows:
            with self._django.cursor() as cursor:
                cursor.execute(as_pyformat(statement), dict(values))
                if not cursor.description:
                    return Rows((), ())
                return Rows([column[0] for column in cursor.description], cursor.fetchall())

        rows: Rows = await self._do(execute)
        return rows

    def transaction(self) -> AbstractAsyncContextManager[object]:
        """All of the block or none."""
        return self._savepoint()

    @asynccontextmanager
    async def _savepoint(self) -> AsyncGenerator[None]:
        # Not `atomic`, which belongs to the thread that enters it.
        connection = self._django
        alone = not connection.in_atomic_block and await self._do(connection.get_autocommit)
        savepoint: str | None = None
        if alone:
            await self._do(lambda: connection.set_autocommit(False))
        else:
            savepoint = await self._do(connection.savepoint)
        try:
            yield
        except BaseException:
            await self._do(connection.rollback if alone else lambda: connection.savepoint_rollback(savepoint))
            raise
        else:
            await self._do(connection.commit if alone else lambda: connection.savepoint_commit(savepoint))
        finally:
            if alone:
                await self._do(lambda: connection.set_autocommit(True))

    async def _elsewhere(self, work: Callable[[], T]) -> T:
        """For a connection of another thread, whose owner waits for this meanwhile."""
        self._django.inc_thread_sharing()
        try:
            return await asyncio.to_thread(work)
        finally:
            self._django.dec_thread_sharing()


class _Source:
    def __init__(self, using: str, statements: Statements) -> None:
        self._using = using
        self._statements = statements
        self._threads = Connections(open=self._open, usable=lambda thread: not thread.ended, drop=self._end)

    async def begin(self, isolation_level: IsolationLevel | None) -> _Transaction:
        thread = await self._threads.take()
        try:
            connection, atomic = await thread.do(lambda: self._enter(isolation_level))
        except BaseException as error:
            await self._end(thread)
            if isinstance(error, Exception):
                raise as_driver_error(error) from error
            raise
        return _Transaction(thread, connection, atomic, self._threads, self._statements)

    async def close(self) -> None:
        await self._threads.close()

    def _enter(self, isolation_level: IsolationLevel | None) -> tuple[Any, Any]:
        connection = import_module("django.db").connections[self._using]
        connection.close_if_unusable_or_obsolete()
        atomic = import_module("django.db.transaction").atomic(using=self._using, durable=True)
        atomic.__enter__()
        if isolation_level is not None:
            with connection.cursor() as cursor:
                cursor.execute(f"set transaction isolation level {isolation_level}")
        return connection, atomic

    async def _open(self) -> OwnThread:
        return OwnThread()

    async def _end(self, thread: OwnThread) -> None:
        await thread.do_last(self._leave)

    def _leave(self) -> None:
        import_module("django.db").connections[self._using].close()


class _Transaction(ThreadedCode):
    def __init__(
        self, thread: OwnThread, connection: Any, atomic: Any, threads: Connections[OwnThread], statements: Statements
    ) -> None:
        super().__init__(thread, connection)
        self._atomic = atomic
        self._threads = threads
        self._over = False
        self.session = DjangoSession(connection, statements, thread.do)

    async def flush(self) -> None:
        if self._connection.needs_rollback:
            raise HoldfastError(
                "an error inside of transaction.atomic was passed over, or set_rollback(True) was called: nothing of "
                "the transaction can be committed; use another atomic() around what may fail"
            )

    async def commit(self) -> None:
        try:
            await self._exit(None)
        except Exception as error:
            raise as_driver_error(error) from error

    async def rollback(self) -> None:
        if self._over:
            return
        try:
            await self._exit(_RolledBack())
        except BaseException as error:
            await self._thread.do_last(self._connection.close)
            if not isinstance(error, Exception):
                raise

    def cut(self) -> None:
        cut_off(self._connection.connection)

    async def close(self, *, drop: bool = False) -> None:
        try:
            if not drop and self._over and not self._thread.ended:
                await self._thread.do(self._connection.close_if_unusable_or_obsolete)
            else:
                await self._thread.do_last(self._connection.close)
        except BaseException as error:
            await self._thread.do_last(self._connection.close)
            if not isinstance(error, Exception):
                raise
        await self._threads.give_back(self._thread)

    async def _exit(self, error: BaseException | None) -> None:
        self._over = True
        await self._thread.do(lambda: self._atomic.__exit__(None if error is None else type(error), error, None))


class _RolledBack(Exception):
    """Says to ``atomic`` that it is to be rolled back."""
