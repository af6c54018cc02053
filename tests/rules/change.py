"""Taking a rule out: in the database of one test, or in its process, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import asyncpg
import pytest

from holdfast.store import statements

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]

Test = TypeVar("Test", bound=Callable[..., Any])


class Change(Protocol):
    """A change to the engine."""

    async def __call__(self, db: Connection, patch: pytest.MonkeyPatch, /) -> None:
        """Makes it, for as long as the test lasts."""
        ...


async def as_it_is(_db: Connection, _patch: pytest.MonkeyPatch) -> None:
    """No change."""


def rewritten(function: str, *pieces: tuple[str, str]) -> Change:
    """A function of the schema, with pieces of its text replaced; each must be there."""

    async def change(db: Connection, _patch: pytest.MonkeyPatch) -> None:
        text: str = await db.fetchval("select pg_get_functiondef($1::regproc)", f"holdfast.{function}")
        await db.execute(_replaced(text, *pieces))

    return change


def reworded(statement: str, *pieces: tuple[str, str]) -> Change:
    """A named statement, with pieces of its text replaced; each must be there."""

    async def change(_db: Connection, patch: pytest.MonkeyPatch) -> None:
        sources = dict(statements._sources("holdfast.store"))
        sources[statement] = _replaced(sources[statement], *pieces)

        def _sources(_folder: str) -> dict[str, str]:
            return sources

        patch.setattr(statements, "_sources", _sources)

    return change


def executed(sql: str) -> Change:
    """Something said to the database."""

    async def change(db: Connection, _patch: pytest.MonkeyPatch) -> None:
        await db.execute(sql)

    return change


def together(*changes: Change) -> Change:
    """All of these."""

    async def change(db: Connection, patch: pytest.MonkeyPatch) -> None:
        for one in changes:
            await one(db, patch)

    return change


def replaced(target: str, value: object) -> Change:
    """Something of the process, by its dotted name, replaced; it must be there."""

    async def change(_db: Connection, patch: pytest.MonkeyPatch) -> None:
        patch.setattr(target, value)

    return change


def shown(good: object, **without: tuple[Change, object]) -> Callable[[Test], Test]:
    """Runs a scenario with the engine as it is, and once for each way of taking the rule out of it.

    The test is given what its scenario is ``expected`` to come to: ``good``, or what goes wrong.
    """
    cases = [pytest.param(as_it_is, good, id="as it is")]
    cases += [
        pytest.param(change, bad, id=f"without {name.replace('_', ' ')}") for name, (change, bad) in without.items()
    ]

    def decorate(test: Test) -> Test:
        parametrized: Test = pytest.mark.parametrize(("change", "expected"), cases)(test)
        marked: Test = pytest.mark.usefixtures("changed")(parametrized)
        return marked

    return decorate


def _replaced(text: str, *pieces: tuple[str, str]) -> str:
    for old, new in pieces:
        assert old in text, f"this is not there any more, so taking it out shows nothing: {old!r}"
        text = text.replace(old, new)
    return text
