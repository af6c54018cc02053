"""The pytest plugin in projects of users: whatever runs their async tests, and whatever server they name."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from holdfast.embedded import EmbeddedPostgres
from tests.house import ROOT

STORY = """
from datetime import timedelta
from holdfast import App, sleep

app = App()

@app.activity
async def greet(name: str) -> str:
    return f"hello, {name}"

@app.workflow
async def later(name: str) -> str:
    await sleep(timedelta(days=11))
    return await greet(name)
"""

STRICT = """
import pytest, pytest_asyncio
from story import app, later

@pytest_asyncio.fixture
async def env(holdfast_env):
    async with holdfast_env(app) as env:
        yield env

@pytest.mark.asyncio
async def test_in_strict_mode(env):
    assert await env.result(await env.start(later, "Ada")) == "hello, Ada"
"""

ANYIO = """
import pytest
from story import app, later

pytestmark = pytest.mark.anyio

@pytest.fixture
def anyio_backend():
    return "asyncio"

@pytest.fixture
async def env(holdfast_env):
    async with holdfast_env(app) as env:
        yield env

async def test_with_anyio(env):
    assert await env.result(await env.start(later, "Ada")) == "hello, Ada"
"""

PLAIN = """
import asyncio
from story import app, later

def test_without_any_plugin(holdfast_env):
    async def main():
        async with holdfast_env(app) as env:
            return await env.result(await env.start(later, "Ada"))
    assert asyncio.run(main()) == "hello, Ada"

def test_only_a_database(holdfast_database):
    assert "holdfast_test_" in holdfast_database
"""

UNUSED = """
import sys

def test_nothing_of_it_is_imported(request):
    assert request.config.pluginmanager.has_plugin("holdfast")
    assert "holdfast" not in sys.modules and "asyncpg" not in sys.modules
"""


def run(place: Path, *arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Runs pytest in a project of its own, without any setting of this repository."""
    (place / "story.py").write_text(STORY)
    (place / "pytest.ini").touch()
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-W", "error", *arguments],
        cwd=place,
        env={**{name: value for name, value in os.environ.items() if "PYTEST" not in name}, **(env or {})},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )


async def databases(server: EmbeddedPostgres) -> set[str]:
    import asyncpg

    connection = await asyncpg.connect(server.dsn)
    try:
        rows = await connection.fetch("select datname from pg_database where datname like 'holdfast_t%'")
        return {row["datname"] for row in rows}
    finally:
        await connection.close()


@pytest.mark.parametrize("text", [STRICT, ANYIO, PLAIN], ids=["pytest-asyncio", "anyio", "plain"])
def test_whatever_runs_the_tests(server: EmbeddedPostgres, tmp_path: Path, text: str) -> None:
    (tmp_path / "test_it.py").write_text(text)
    done = run(tmp_path, env={"HOLDFAST_TEST_DATABASE_URL": server.dsn})
    assert done.returncode == 0, done.stdout + done.stderr


NAMES = (
    PLAIN
    + """
def test_names(holdfast_databases, holdfast_database):
    print("made", holdfast_databases.template, holdfast_database.partition("///")[2].partition("?")[0])
"""
)


def test_on_a_server_that_the_settings_name_nothing_is_left(server: EmbeddedPostgres, tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(NAMES)
    (tmp_path / "pytest.ini").write_text(f"[pytest]\nholdfast_database_url = {server.dsn}\n")
    done = run(tmp_path, "-s")
    assert done.returncode == 0, done.stdout + done.stderr
    (names,) = re.findall(r"made (\S+) (\S+)", done.stdout)
    assert names[0].startswith("holdfast_template_")
    assert names[1].startswith("holdfast_test_")
    assert not set(names) & asyncio.run(databases(server))


def test_without_a_server_it_runs_one(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(PLAIN)
    done = run(tmp_path, "-n2", "-p", "xdist")
    assert done.returncode == 0, done.stdout + done.stderr


def test_it_does_nothing_until_it_is_used(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(UNUSED)
    done = run(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_server_that_is_not_there_is_told(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(PLAIN)
    done = run(tmp_path, env={"HOLDFAST_TEST_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/nothing"})
    assert done.returncode == 1
    assert "DatabaseUnavailable" in done.stdout
    wrong = run(tmp_path, env={"HOLDFAST_TEST_DATABASE_URL": "mydb"})
    assert "ConfigurationError: 'mydb' is not the URL of a Postgres" in wrong.stdout


def test_the_page_of_the_guide_is_a_test_file(server: EmbeddedPostgres, tmp_path: Path) -> None:
    page = (ROOT / "docs" / "guide" / "testing.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    (tmp_path / "test_page.py").write_text("\n".join(blocks), encoding="utf-8")
    done = run(tmp_path, "--asyncio-mode=auto", "-v", env={"HOLDFAST_TEST_DATABASE_URL": server.dsn})
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("PASSED") == len(re.findall(r"^(?:async )?def test_", "\n".join(blocks), re.MULTILINE))


def test_the_examples_are_tested_as_they_say(server: EmbeddedPostgres, tmp_path: Path) -> None:
    for name in ("onboarding.py", "test_onboarding.py"):
        (tmp_path / name).write_text((ROOT / "examples" / name).read_text(encoding="utf-8"), encoding="utf-8")
    done = run(tmp_path, "--asyncio-mode=auto", "-v", env={"HOLDFAST_TEST_DATABASE_URL": server.dsn})
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("PASSED") >= 5
