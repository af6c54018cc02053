"""What the guide shows is what happens, and what the pages about settings list is what there is."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import inspect
import io
import os
import re
import sys
import tempfile
import tomllib
from collections.abc import Coroutine, Iterator, Mapping
from dataclasses import MISSING, Field, fields
from datetime import timedelta
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, cast

import asyncpg
import pytest

import holdfast
from holdfast import App, BlockingClient, EmbeddedSettings
from holdfast.app.settings import read_settings
from holdfast.app.sources import VARIABLES
from holdfast.app.worker_settings import read_worker_settings
from holdfast.cli.exit_code import ExitCode
from holdfast.cli.words import duration
from holdfast.cli.worker.run import run
from holdfast.core.errors import ConfigurationError
from holdfast.core.mode import Duty, Mode
from holdfast.core.priority import Priority
from holdfast.core.settings import WorkerSettings
from holdfast.core.states import RunStatus
from tests.house import QUICK, ROOT

DOCS = ROOT / "docs"
GUIDE = (DOCS / "guide.md").read_text(encoding="utf-8")
PAGES = [DOCS / "guide.md", *sorted((DOCS / "guide").glob("*.md"))]
SQL = (DOCS / "guide" / "sql.md").read_text(encoding="utf-8")
SETTINGS = (DOCS / "settings.md").read_text(encoding="utf-8")
WORKER_SETTINGS = (DOCS / "guide" / "worker-settings.md").read_text(encoding="utf-8")

FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SHOWN = re.compile(r"(?:#|--) → (.*)$", re.MULTILINE)
HEADING = re.compile(r"^## (.+)$", re.MULTILINE)


class Block(NamedTuple):
    language: str
    text: str
    line: int
    """Where it stands in the page."""


class Section(NamedTuple):
    page: str
    title: str
    blocks: list[Block]


def sections(path: Path) -> list[Section]:
    """What stands below each heading of the second level."""
    page = path.read_text(encoding="utf-8")
    marks = [*HEADING.finditer(page)]
    ends = [*(mark.start() for mark in marks[1:]), len(page)]
    return [
        Section(
            str(path.relative_to(ROOT)),
            mark[1],
            [
                Block(found[1], found[2], page.count("\n", 0, found.start(2)))
                for found in FENCE.finditer(page, mark.end(), end)
            ],
        )
        for mark, end in zip(marks, ends, strict=True)
    ]


EXECUTED = [
    section
    for page in PAGES
    for section in sections(page)
    if {block.language for block in section.blocks} & {"python", "sql"}
]


@pytest.mark.parametrize("page", [*PAGES, DOCS / "settings.md"], ids=lambda page: page.stem)
def test_every_block_has_a_language_that_is_tested(page: Path) -> None:
    fences = len(re.findall(r"^```", page.read_text(encoding="utf-8"), re.MULTILINE))
    blocks = [block for section in sections(page) for block in section.blocks]
    assert fences == 2 * len(blocks), "each block stands below a heading of the second level, and names its language"
    assert {block.language for block in blocks} <= {"python", "sql", "sh", "toml"}


# ---- what is executed


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current directory, which an embedded Postgres of root can reach too."""
    memory = Path("/dev/shm")  # noqa: S108 - the data is worth nothing
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as directory:
        Path(directory).chmod(0o711)
        monkeypatch.chdir(directory)
        yield Path(directory)


@pytest.fixture
def django_of_its_own() -> Iterator[None]:
    """Django has its settings once in a process: here it is imported anew, and afterwards it is what it was."""

    def loaded() -> dict[str, ModuleType]:
        return {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "django"}

    before = loaded()
    for name in before:
        del sys.modules[name]
    yield
    for name in loaded():
        del sys.modules[name]
    sys.modules.update(before)


@pytest.mark.parametrize("section", EXECUTED, ids=lambda section: f"{Path(section.page).stem}: {section.title}")
@pytest.mark.usefixtures("django_of_its_own")
async def test_the_snippets_do_what_they_show(
    section: Section, dsn: str, db: asyncpg.Connection[asyncpg.Record], place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", dsn)
    monkeypatch.delenv("HOLDFAST_DATABASE_URL", raising=False)
    # A real module, because exceptions are made again from the names of their classes.
    module = ModuleType(re.sub(r"[^a-z]", "_", f"{Path(section.page).stem} {section.title}".lower()))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    # Its definitions as a file, too: another process may have to import them.
    source = place / f"{module.__name__}.py"
    source.touch()
    module.__spec__ = spec_from_file_location(module.__name__, source)
    monkeypatch.setattr(sys, "path", [str(place), *sys.path])
    try:
        for block in section.blocks:
            if block.language == "python":
                await execute(section.page, block, module)
            elif block.language == "sql":
                await execute_sql(block, db)
    finally:
        for thing in vars(module).values():
            # One that would stay open as long as the process of a web server.
            if isinstance(thing, BlockingClient):
                await asyncio.to_thread(thing.close)


async def execute(page: str, block: Block, module: ModuleType) -> None:
    """Executes a block in this module, beside a worker, and compares what it prints with what it shows."""
    tree = compile("\n" * block.line + block.text, page, "exec", ast.PyCF_ONLY_AST | TOP_LEVEL_AWAIT)
    code = compile(tree, page, "exec", TOP_LEVEL_AWAIT)
    asynchronous = bool(code.co_flags & inspect.CO_COROUTINE)
    app = vars(module).get("app")
    printed = io.StringIO()
    # What a definition prints is shown where it stands, and printed when a later block starts it.
    expected = [*vars(module).pop("__shown_later__", []), *SHOWN.findall(block.text)]
    async with contextlib.AsyncExitStack() as stack:
        if asynchronous and isinstance(app, App) and app.definitions and ".worker(" not in block.text:
            await stack.enter_async_context(app.worker(**QUICK))
        with contextlib.redirect_stdout(printed):
            # PyCF_ALLOW_TOP_LEVEL_AWAIT makes a coroutine of code that awaits.
            coroutine: object = eval(code, vars(module))  # noqa: S307 - the guide is ours
            if asynchronous:
                async with asyncio.timeout(60):
                    await cast("Coroutine[Any, Any, None]", coroutine)
    if not asynchronous and module.__spec__ is not None and module.__spec__.origin is not None:
        with Path(module.__spec__.origin).open("a", encoding="utf-8") as source:
            source.write(block.text)
    if not asynchronous and expected:
        vars(module)["__shown_later__"] = expected
        return
    check_shown(printed.getvalue().splitlines(), expected, f"{page}, the block after line {block.line}")


TOP_LEVEL_AWAIT = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT


def check_shown(printed: list[str], expected: list[str], where: str) -> None:
    where = f"{where}: {printed} is not {expected}"
    assert len(printed) == len(expected), where
    for line, shown in zip(printed, expected, strict=True):
        pattern = ".*".join(map(re.escape, shown.strip().split("…")))
        assert re.fullmatch(pattern, line.strip()), where


async def execute_sql(block: Block, db: asyncpg.Connection[asyncpg.Record]) -> None:
    printed: list[str] = []
    for statement in statements(re.sub(r"--.*", "", block.text)):
        if statement.strip():
            rows = await db.fetch(statement)
            printed += [str(rows[0][0]).lower()] if rows and SHOWN.search(block.text) else []
    check_shown(printed, SHOWN.findall(block.text), f"the block after line {block.line}")


def statements(text: str) -> list[str]:
    """What stands between semicolons, but for those in the body of a function."""
    found = [""]
    for place, part in enumerate(re.split(r"(\$\$.*?\$\$)", text, flags=re.DOTALL)):
        first, *more = [part] if place % 2 else part.split(";")
        found[-1] += first
        found += more
    return found


async def test_the_statements_for_other_drivers_can_be_prepared(db: asyncpg.Connection[asyncpg.Record]) -> None:
    (table,) = [rows for rows in tables(SQL) if rows[0] == ["with", "write"]]
    for _, words in table[1:]:
        found = re.search(r"select holdfast\.start\(.*?\)(?=[;\"])", words)
        assert found is not None, words
        await db.prepare(re.sub(r"%s|:\w+", "$1", found[0]))


async def test_the_parameters_of_the_sql_functions(db: asyncpg.Connection[asyncpg.Record]) -> None:
    (table,) = [rows for rows in tables(SQL) if rows[0][0] == "function"]
    for function, _, parameters in table[1:]:
        names = await db.fetchval(
            "select proargnames[:pronargs] from pg_proc where oid = $1::regproc", code_of(function)
        )
        assert re.findall(r"`(\w+)`", parameters) == names


def test_the_codes_of_sql_errors() -> None:
    (table,) = [rows for rows in tables(SQL) if rows[0][0] == "code"]
    files = (ROOT / "src/holdfast/store/migrations").glob("*.sql")
    sql = "".join(file.read_text(encoding="utf-8") for file in files)
    for code, _, _ in table[1:]:
        assert f"errcode = '{code_of(code)}'" in sql


# ---- tables


def test_the_exit_codes() -> None:
    (table,) = [rows for rows in tables(GUIDE) if rows[0][0] == "exit code"]
    assert {int(code): meaning for code, meaning in table[1:]} == {code.value: code.meaning for code in ExitCode}


def test_the_statuses() -> None:
    (table,) = [rows for rows in tables(GUIDE) if rows[0][0] == "status"]
    listed = {word for row in table[1:] for word in re.findall(r"`(\S+)`", row[0])}
    assert listed == {*RunStatus}


def test_the_errors_that_are_named_can_be_imported() -> None:
    (table,) = [rows for rows in tables(GUIDE) if rows[0][0] == "error"]
    for row in table[1:]:
        for name in re.findall(r"`(\w+)`", row[0]):
            assert issubclass(getattr(holdfast, name), holdfast.HoldfastError)


# ---- links


@pytest.mark.parametrize("source", [*PAGES, DOCS / "settings.md"], ids=lambda source: source.stem)
def test_links_lead_somewhere(source: Path) -> None:
    prose = FENCE.sub("", source.read_text(encoding="utf-8"))
    for target in re.findall(r"\]\(([^)]+)\)", prose):
        path, _, anchor = target.partition("#")
        page = (source.parent / path).resolve() if path else source
        assert page.is_file(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w\- ]", "", one.lower()).replace(" ", "-") for one in headings}, target


@pytest.mark.parametrize("page", PAGES[1:], ids=lambda page: page.stem)
def test_the_guide_leads_to_each_page(page: Path) -> None:
    assert f"(guide/{page.name})" in GUIDE, "list it at the end of docs/guide.md, below 'One page each'"


def test_the_readme_leads_to_both_pages() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "(docs/guide.md)" in readme
    assert "(docs/settings.md)" in readme


# ---- settings


def tables(page: str) -> list[list[list[str]]]:
    """The tables of the page, as rows of cells; the first row is the heading."""
    found: list[list[list[str]]] = []
    for text in re.findall(r"(?:^\|.*\|\n)+", page, re.MULTILINE):
        rows = [[cell.strip() for cell in row.strip("|").split(" |")] for row in text.strip().splitlines()]
        found.append([[cell.strip(" |") for cell in row] for row in rows if not set("".join(row)) <= set("-|")])
    return found


def code_of(cell: str) -> str:
    """What stands in backticks in a cell."""
    found = re.fullmatch(r"`([^`]*)`", cell)
    assert found is not None, cell
    return found[1]


def settings_table(title: str) -> dict[str, list[str]]:
    """The first table below a heading, by the names of its settings."""
    (page,) = [part for part in SETTINGS.split("\n## ") if part.startswith(title)]
    return {code_of(row[0]): row[1:] for row in tables(page)[0][1:]}


def written(value: object) -> str:
    """How a default is written in a table."""
    match value:
        case bool():
            return f"`{str(value).lower()}`"
        case timedelta():
            return f"`{value.total_seconds():g}s`" if value < timedelta(days=1) else f"`{value.days}d`"
        case _:
            return f"`{value}`"


def test_the_settings_of_an_app(tmp_path: Path) -> None:
    table = settings_table("App")
    assert list(table) == list(VARIABLES)
    found = read_settings({}, environ={}, start=tmp_path)
    for name, (_, default, environment) in table.items():
        assert tuple(re.findall(r"`(\w+)`", environment)) == VARIABLES[name]
        value = getattr(found, name).value
        if value is None:
            assert default in {"the embedded Postgres", "`.holdfast` in the project", "they are looked for"}
        else:
            assert default == written(value)
    named = set(inspect.signature(App).parameters) - {"codec", "embedded"}
    assert named == set(table) - {"data_dir", "bin_dir"}


def test_the_file_that_is_shown_is_read(tmp_path: Path) -> None:
    (block,) = [
        block for section in sections(DOCS / "settings.md") for block in section.blocks if block.language == "toml"
    ]
    shown = tomllib.loads(block.text)["holdfast"]
    assert list(shown) == list(VARIABLES)
    (tmp_path / "holdfast.toml").write_text(block.text, encoding="utf-8")
    found = read_settings({}, environ={}, start=tmp_path)
    assert found.data_dir.value == tmp_path / shown.pop("data_dir")
    assert {name: getattr(found, name).value for name in shown} == {**shown, "bin_dir": Path(shown["bin_dir"])}


def test_the_order_of_the_sources(tmp_path: Path) -> None:
    """From the last place to the first: each wins over those that were there before."""

    def schema(environ: Mapping[str, str], app: App | None = None) -> str:
        given = {} if app is None else app._given
        return read_settings(given, environ=environ, start=tmp_path).schema.value

    assert schema({}) == "holdfast"
    (tmp_path / "pyproject.toml").write_text("[project]\n", encoding="utf-8")
    (tmp_path / ".env").write_text("HOLDFAST_SCHEMA=of_dotenv\n", encoding="utf-8")
    assert schema({}) == "of_dotenv"
    (tmp_path / "pyproject.toml").write_text('[tool.holdfast]\nschema = "of_pyproject"\n', encoding="utf-8")
    assert schema({}) == "of_pyproject"
    (tmp_path / "holdfast.toml").write_text('[holdfast]\nschema = "of_own_file"\n', encoding="utf-8")
    assert schema({}) == "of_own_file"
    assert schema({"HOLDFAST_SCHEMA": ""}) == "of_own_file"
    assert schema({"HOLDFAST_SCHEMA": "of_environment"}) == "of_environment"
    app = App(schema="of_code")
    assert schema({"HOLDFAST_SCHEMA": "of_environment"}, app) == "of_code"
    app.override(origin="--schema", schema="of_option")
    assert schema({"HOLDFAST_SCHEMA": "of_environment"}, app) == "of_option"


def test_the_arguments_of_a_client() -> None:
    defaults = {name: one.default for name, one in inspect.signature(App.client).parameters.items() if name != "self"}
    assert defaults == {"pool_size": 4, "hints": True, "application": "holdfast client"}


def default_of(one: Field[Any]) -> object:
    if one.default is not MISSING:
        return one.default
    assert one.default_factory is not MISSING
    return one.default_factory()


def test_the_settings_of_a_worker() -> None:
    table = settings_table("Worker")
    known = {one.name: default_of(one) for one in fields(WorkerSettings) if one.name != "alone"}
    assert set(table) == set(known)
    for name, (_, default, _, _) in table.items():
        match name:
            case "name":
                assert default == "the host's name"
            case "buckets":
                assert (default, known[name]) == ("1 each", {})
            case "keep":
                assert (default, known[name]) == ("for ever", {})
            case "max_threads":
                assert (default, known[name]) == ("4 for each processor", 4 * (os.cpu_count() or 1))
            case "max_processes":
                assert (default, known[name]) == ("1 for each processor", os.cpu_count() or 1)
            case _:
                assert default == written(known[name])


def test_the_ranges_of_a_worker() -> None:
    for name, (_, _, limits, _) in settings_table("Worker").items():
        between = re.fullmatch(r"(\d+)(\w*) to (\d+)(\w*)", limits)
        if between is None:
            continue
        low, high = (_limit(between[n], between[n + 1] or between[4]) for n in (1, 3))
        step = timedelta(milliseconds=1) if between[4] else 1
        for value in (low, high):
            _worker_settings({name: value})
        for value in (low - step, high + step):
            with pytest.raises(ConfigurationError):
                _worker_settings({name: value})
    WorkerSettings(parallelism_factor=10_000, lane="x" * 200, name="x" * 200, buckets={"low": 100})
    for wrong in (
        {"parallelism_factor": 10_001},
        {"parallelism_factor": 0},
        {"lane": "x" * 201},
        {"lane": "a b"},
        {"name": "x" * 201},
        {"buckets": {"low": 101}},
        {"buckets": {priority.word: 0 for priority in Priority}},
        {"mode": "idle"},
        {"keep": {"succeeded": timedelta(seconds=59)}},
        {"keep": {"running": timedelta(days=1)}},
    ):
        with pytest.raises(ConfigurationError):
            _worker_settings(wrong)


def _limit(number: str, unit: str) -> Any:
    return duration(number + unit) if unit else int(number)


def _worker_settings(given: Mapping[str, object]) -> WorkerSettings:
    return WorkerSettings(**cast("dict[str, Any]", given))


def test_the_options_of_a_worker() -> None:
    known = {option for parameter in run.params if not getattr(parameter, "hidden", False) for option in parameter.opts}
    table = settings_table("Worker")
    listed = {option for row in table.values() for option in re.findall(r"`(--[\w-]+)", row[3])}
    shared = {"--app", "--database-url", "--schema", "--json", "--help"}
    assert listed | {"--processes", "--log-level", "--log-format", "--metrics-port"} == known - shared
    for name, row in table.items():
        option = re.search(r"`--(?:no-)?([\w-]+)", row[3])
        assert option is not None
        assert option[1].replace("-", "_") == name


def test_the_modes() -> None:
    (table,) = [rows for rows in tables(WORKER_SETTINGS) if rows[0][0] == "what"]
    assert table[0][1:] == list(Mode)
    assert {row[0]: dict(zip(Mode, row[1:], strict=True)) for row in table[1:]} == {
        duty.value: {mode: "yes" if mode.does(duty) else "no" for mode in Mode} for duty in Duty
    }


def test_the_file_for_workers_that_is_shown_is_read(tmp_path: Path) -> None:
    (block,) = [
        block
        for section in sections(DOCS / "guide" / "worker-settings.md")
        for block in section.blocks
        if block.language == "toml"
    ]
    (tmp_path / "holdfast.toml").write_text(block.text, encoding="utf-8")
    orders, reports = (one.settings for one in read_worker_settings(environ={}, start=tmp_path))
    assert (orders.lane, orders.max_threads, orders.grace) == ("orders", 8, timedelta(seconds=30))
    assert (reports.lane, reports.max_threads, reports.grace) == ("reports", 2, timedelta(minutes=10))
    for one in (orders, reports):
        assert (one.lease, one.buckets) == (timedelta(seconds=45), {"critical": 3, "very-low": 0})


def test_the_capacities() -> None:
    (table,) = [rows for rows in tables(SETTINGS) if rows[0][0] == "priority"]
    assert [(code_of(word), int(count)) for word, count in table[1:]] == [
        (priority.word, WorkerSettings().capacity(priority)) for priority in Priority
    ]


def test_the_settings_of_the_embedded_postgres() -> None:
    table = settings_table("Embedded Postgres")
    known = {one.name: default_of(one) for one in fields(EmbeddedSettings)}
    assert list(table) == list(known)
    for name, (_, default) in table.items():
        if name in {"data_dir", "bin_dir", "options"}:
            assert not known[name]
        else:
            assert default == written(known[name])
