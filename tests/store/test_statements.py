"""Every named statement fits the schema, whatever the schema is called."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from importlib import resources
from pathlib import Path

import asyncpg
import pytest

from holdfast.core.errors import ConfigurationError
from holdfast.store.migrate import migrate, migrations
from holdfast.store.session import Session
from holdfast.store.statements import Statements
from holdfast.store.testbed.clock import statements as statements_of_testbed
from holdfast.store.testbed.clock import stop_clock

SCHEMAS = ("holdfast", "billing_jobs")
NAMES = sorted(statement.name for statement in Statements())
STORE = Path(str(resources.files("holdfast.store")))
SQL_FILES = sorted(STORE.rglob("*.sql"))


@pytest.fixture
async def prepared(empty_dsn: str, request: pytest.FixtureRequest) -> AsyncIterator[Session]:
    connection = await asyncpg.connect(empty_dsn)
    session = Session(connection, Statements(request.param))
    await migrate(session)
    yield session
    connection.terminate()


@pytest.mark.parametrize("prepared", SCHEMAS, indirect=True)
async def test_every_statement_can_be_prepared(prepared: Session) -> None:
    refused: list[str] = []
    for statement in prepared.statements:
        try:
            plan = await prepared.connection.prepare(statement.text)
        except asyncpg.PostgresError as error:
            refused.append(f"{statement.name}: {error}")
            continue
        if len(plan.get_parameters()) != len(statement.parameters):
            refused.append(f"{statement.name}: takes {plan.get_parameters()}, is given {statement.parameters}")
    assert not refused, "\n".join(refused)
    assert len(NAMES) > 30


@pytest.mark.parametrize("prepared", SCHEMAS, indirect=True)
async def test_every_statement_for_tests_can_be_prepared_where_the_clock_stands(prepared: Session) -> None:
    testbed = Session(prepared.connection, statements_of_testbed(prepared.statements.schema))
    await stop_clock(testbed, None)
    for statement in testbed.statements:
        plan = await prepared.connection.prepare(statement.text)
        assert len(plan.get_parameters()) == len(statement.parameters), statement.name


@pytest.mark.parametrize("prepared", ["billing_jobs"], indirect=True)
async def test_a_schema_of_another_name_has_no_trace_of_the_usual_one(prepared: Session) -> None:
    traces = await prepared.connection.fetch(
        """
        select 'function ' || p.proname as what, pg_get_functiondef(p.oid) as text
          from pg_proc p
         where p.pronamespace = 'billing_jobs'::regnamespace
        union all
        select 'view ' || c.relname, pg_get_viewdef(c.oid)
          from pg_class c
         where c.relnamespace = 'billing_jobs'::regnamespace
           and c.relkind = 'v'
        union all
        select 'default of ' || d.adrelid::regclass, pg_get_expr(d.adbin, d.adrelid)
          from pg_attrdef d
        union all
        select 'index ' || i.indexname, i.indexdef
          from pg_indexes i
         where i.schemaname = 'billing_jobs'
        """
    )
    assert len(traces) > 30
    assert [row["what"] for row in traces if "holdfast" in row["text"]] == []
    assert await prepared.connection.fetchval("select count(*) from pg_namespace where nspname = 'holdfast'") == 0
    assert [s.name for s in prepared.statements if "holdfast." in s.text or "'holdfast'" in s.text] == []


async def test_a_hint_travels_on_the_channel_of_its_schema(empty_dsn: str) -> None:
    connection = await asyncpg.connect(empty_dsn)
    for schema in SCHEMAS:
        await migrate(Session(connection, Statements(schema)))
    heard: list[tuple[str, object]] = []
    for schema in SCHEMAS:
        await connection.add_listener(
            schema, lambda _connection, _pid, channel, payload: heard.append((channel, payload))
        )
    for schema in SCHEMAS:
        await connection.execute(f"select {schema}.start('flow', lane => 'lane-{schema}')")
    # What was notified in a transaction is delivered before the answer to the next statement.
    await connection.execute("select 1")
    assert heard == [(schema, f"due lane-{schema}") for schema in SCHEMAS]
    await connection.close()


@pytest.mark.parametrize("schema", ["", "Holdfast", "my schema", "a.b", "1st", "x" * 49, 'a"b', "a;b"])
def test_a_schema_that_needs_quotes_is_refused(schema: str) -> None:
    with pytest.raises(ConfigurationError, match="schema"):
        Statements(schema)


@pytest.mark.parametrize("schema", ["user", "order", "table", "pg_jobs"])
async def test_a_schema_that_the_server_would_not_take_is_refused_at_setup(empty_dsn: str, schema: str) -> None:
    connection = await asyncpg.connect(empty_dsn)
    with pytest.raises(ConfigurationError, match=f"schema '{schema}'"):
        await migrate(Session(connection, Statements(schema)))
    await connection.close()


def test_a_statement_names_what_is_missing_and_what_it_does_not_know() -> None:
    with pytest.raises(
        KeyError, match=r"statement heartbeat: unknown \['wrong'\], missing \['epoch', 'state', 'worker'\]"
    ):
        Statements()["heartbeat"].bind({"wrong": 1})


# -- how SQL looks here

_KEYWORDS = re.compile(
    r"\b(SELECT|FROM|WHERE|JOIN|INSERT|UPDATE|DELETE|CREATE|BEGIN|END|AND|OR|NOT|NULL|RETURNS|LANGUAGE|CASE|WHEN|THEN)\b"
)


@pytest.mark.parametrize("file", SQL_FILES, ids=lambda file: file.name)
def test_sql_is_lower_case_and_fits_the_page(file: Path) -> None:
    lines = file.read_text(encoding="utf-8").splitlines()
    code = [(number, line.partition("--")[0]) for number, line in enumerate(lines, 1)]
    loud = [f"{number}: {line}" for number, line in code if _KEYWORDS.search(re.sub(r"'[^']*'", "", line))]
    assert not loud
    assert not [f"{number}: {line}" for number, line in enumerate(lines, 1) if len(line) > 130 or line != line.rstrip()]


@pytest.mark.parametrize("file", SQL_FILES, ids=lambda file: file.name)
def test_sql_needs_nothing_newer_than_the_oldest_server(file: Path) -> None:
    newer = (
        r"\b(merge\s+into|any_value|nulls\s+not\s+distinct|uuidv7|json_(table|exists|value|query|array|object)\s*\(|"
        # The name of a setting may be a value: it is set where the server is new enough.
        r"random_normal|regexp_(like|count)|(?<!set_config\(')transaction_timeout|date_add|returning\s+(old|new)|virtual)\b"
    )
    code = "\n".join(line.partition("--")[0] for line in file.read_text(encoding="utf-8").splitlines())
    assert re.findall(newer, code, re.IGNORECASE) == []


def test_every_migration_says_which_code_it_allows() -> None:
    for migration in migrations():
        stated = re.findall(r"^-- oldest code: (\d+)$", migration.text, re.MULTILINE)
        assert stated == [str(migration.oldest_code)], f"migration {migration.version} ({migration.name})"
        assert migration.oldest_code <= migration.version
    assert [migration.version for migration in migrations()] == list(range(1, len(migrations()) + 1))


@pytest.mark.parametrize("prepared", ["holdfast"], indirect=True)
async def test_no_function_looks_anything_up_on_its_callers_path(prepared: Session) -> None:
    # Somebody who may create functions in a schema on a caller's path could otherwise put a better match into his way.
    open_ = await prepared.connection.fetch(
        """
        select p.proname
          from pg_proc p
          join pg_language l on l.oid = p.prolang
         where p.pronamespace = 'holdfast'::regnamespace
           and l.lanname = 'plpgsql'
           and not coalesce(p.proconfig @> array['search_path=pg_catalog, pg_temp'], false)
        """
    )
    assert [row["proname"] for row in open_] == []
    definers = await prepared.connection.fetch(
        "select p.proname, p.proacl::text as rights from pg_proc p"
        " where p.pronamespace = 'holdfast'::regnamespace and p.prosecdef order by p.proname"
    )
    # They make and drop tables; who may call them is said by name.
    assert [row["proname"] for row in definers] == ["make_day", "prune_day"]
    assert [row["rights"] for row in definers if re.search(r"[{,]=", row["rights"])] == []


def test_groups_of_parameters_can_be_left_out() -> None:
    statements = Statements("billing_jobs")
    whole, shorter = statements["flush"], statements.without("flush", "mesbkhxcqn")
    left = [name for name in whole.parameters if not re.match("[mesbkhxcqn]_", name)]
    assert list(shorter.parameters) == left
    assert left[:5] == ["worker", "epoch", "wait", "again", "j_run"]
    assert shorter.text.count("'{}'") == len(whole.parameters) - len(left)
    assert "billing_jobs.flush(" in shorter.text
    assert statements.without("flush", "mesbkhxcqn") is shorter
    assert statements.without("flush", "") == whole
