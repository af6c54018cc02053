"""What a library has to be able to do for transactional activities."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from holdfast.core.isolation import IsolationLevel

if TYPE_CHECKING:
    from holdfast.store.session import Session
    from holdfast.store.statements import Statements


class Transaction(Protocol):
    """One open transaction on a connection that nobody else uses meanwhile."""

    @property
    def session(self) -> Session:
        """For what the engine says in this transaction."""
        ...

    @property
    def busy(self) -> bool:
        """Whether its code still runs, in a thread that cannot be stopped."""
        ...

    async def run(self, fn: Callable[..., Any], args: Sequence[object], kwargs: Mapping[str, object]) -> Any:
        """What the activity's function gives; its connection is the first argument."""
        ...

    async def flush(self) -> None:
        """What the library has kept back is said to the database: the engine's own statement comes last."""
        ...

    async def commit(self) -> None:
        """Commits; after an error it may have been committed all the same."""
        ...

    async def rollback(self) -> None:
        """Nothing of it remains; where it is over already, nothing happens. It may take until a thread returns."""
        ...

    def cut(self) -> None:
        """The connection is broken off at once: whoever waits for an answer there is told. Never waits."""
        ...

    async def close(self, *, drop: bool = False) -> None:
        """The connection is free for the next one, or dropped where it is of no use any more."""
        ...


class Source(Protocol):
    """Opens transactions on one database, for one worker."""

    async def begin(self, isolation_level: IsolationLevel | None) -> Transaction:
        """A new transaction, on a connection of its own."""
        ...

    async def close(self) -> None:
        """Drops the connections that nobody uses."""
        ...


class DjangoConnection(Protocol):
    """One of Django's ``connections``: as far as it can be told apart without its types."""

    alias: str
    vendor: str

    def cursor(self) -> Any:
        """As Django has it."""
        ...

    def inc_thread_sharing(self) -> None:
        """As Django has it."""
        ...


class DjangoConnectionProxy(Protocol):
    """``django.db.connection``, without its types: it stands for the connection of the thread that asks."""

    def __getattr__(self, item: Any, /) -> Any:
        """As Django has it."""
        ...

    def __contains__(self, key: Any, /) -> bool:
        """As Django has it."""
        ...


class Library(Protocol):
    """A library, as an activity asks for it. Equal ones share their connections."""

    @property
    def is_async(self) -> bool:
        """Whether its activities are ``async def``."""
        ...

    def fitted(self, names: Sequence[str]) -> Library:
        """The same for an activity whose first parameter is one of these classes, by their full names."""
        ...

    def source(self, dsn: str, statements: Statements, *, application: str, size: int) -> Source:
        """A source of at most ``size`` transactions at once."""
        ...
