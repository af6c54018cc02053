"""The pytest plugin of Holdfast: fixtures for databases and for the environment that workflows are tested in.

It stands outside of the package so that loading it costs nothing: Holdfast is imported when a fixture is first used.
"""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

if TYPE_CHECKING:
    from holdfast.testing import Databases, OpenEnv

T = TypeVar("T")

URL = "HOLDFAST_TEST_DATABASE_URL"


def pytest_addoption(parser: pytest.Parser) -> None:
    """The one setting: which server the databases for tests are made on."""
    parser.addini(
        "holdfast_database_url",
        "The server that the databases for tests are made on, as the URL of one of its databases; default: a Postgres "
        f"that Holdfast runs for the tests. The environment variable {URL} goes first.",
    )


@pytest.fixture(scope="session")
def holdfast_databases(request: pytest.FixtureRequest) -> Iterator[Databases]:
    """Databases for tests, on a Postgres that lasts as long as the test run, or on the server of the setting."""
    from holdfast.testing import Databases, shared_postgres

    url = os.environ.get(URL) or str(request.config.getini("holdfast_database_url"))
    if url:
        databases = Databases(url)
        _apart(databases.__aenter__())
        yield databases
        _apart(databases.__aexit__(None, None, None))
        return
    # The processes of pytest-xdist share a server and its template.
    with shared_postgres(os.environ.get("PYTEST_XDIST_TESTRUNUID") or uuid.uuid4().hex) as server:
        databases = Databases(server.dsn, template="holdfast_template")
        _apart(databases.__aenter__())
        yield databases


@pytest.fixture
def holdfast_database(holdfast_databases: Databases) -> Iterator[str]:
    """The URL of a database with Holdfast's schema, for this test alone."""
    url = _apart(holdfast_databases.create())
    yield url
    _apart(holdfast_databases.drop(url))


@pytest.fixture
def holdfast_env(holdfast_database: str) -> OpenEnv:
    """Opens the environment of an app on this test's database.

    ``async with holdfast_env(app) as env:``; it takes the arguments of :func:`holdfast.testing.open_env`, without the
    URL.
    """
    from holdfast.testing import open_env

    return partial(open_env, database_url=holdfast_database)


def _apart(coroutine: Coroutine[Any, Any, T]) -> T:
    """Runs it in a thread and a loop of its own, so that it does not matter which plugin runs the tests."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, coroutine).result()
