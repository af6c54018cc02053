"""Where an app's settings come from, and what is said about those that cannot work."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from holdfast.app.settings import AppSettings, read_settings
from holdfast.app.sources import Found
from holdfast.core.errors import ConfigurationError
from holdfast.embedded import EmbeddedSettings

CODE = "postgresql://code/db"
OWN = "postgresql://own-variable/db"
COMMON = "postgresql://common-variable/db"
FILE = "postgresql://file/db"
DOTENV = "postgresql://dotenv/db"


def given(**values: object) -> dict[str, Found]:
    return {name: Found(value=value, origin=f"App({name}=)", base=Path()) for name, value in values.items()}


def settings(
    project: Path, environ: Mapping[str, str] | None = None, embedded: EmbeddedSettings | None = None, **values: object
) -> AppSettings:
    return read_settings(given(**values), embedded, environ=environ or {}, start=project)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with every source: take them away from the front, and the next one counts."""
    (tmp_path / "holdfast.toml").write_text(f'[holdfast]\ndatabase_url = "{FILE}"\nschema = "from_file"\n')
    (tmp_path / ".env").write_text(f"DATABASE_URL={DOTENV}\nHOLDFAST_SCHEMA=from_dotenv\n")
    return tmp_path


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    """A project that says nothing."""
    (tmp_path / "holdfast.toml").touch()
    return tmp_path


def test_what_the_code_says_comes_first(project: Path) -> None:
    both = {"HOLDFAST_DATABASE_URL": OWN, "DATABASE_URL": COMMON}
    found = settings(project, both, database_url=CODE)
    assert (found.database_url.value, found.database_url.origin) == (CODE, "App(database_url=)")


def test_then_our_variable(project: Path) -> None:
    found = settings(project, {"HOLDFAST_DATABASE_URL": OWN, "DATABASE_URL": COMMON})
    assert (found.database_url.value, found.database_url.origin) == (OWN, "HOLDFAST_DATABASE_URL")


def test_then_the_common_variable(project: Path) -> None:
    found = settings(project, {"DATABASE_URL": COMMON})
    assert (found.database_url.value, found.database_url.origin) == (COMMON, "DATABASE_URL")


def test_then_the_projects_file(project: Path) -> None:
    found = settings(project)
    assert (found.database_url.value, found.database_url.origin) == (FILE, str(project / "holdfast.toml"))
    assert found.schema.value == "from_file"


def test_then_dotenv(project: Path) -> None:
    (project / "holdfast.toml").write_text("")
    found = settings(project)
    assert (found.database_url.value, found.database_url.origin) == (DOTENV, f"DATABASE_URL in {project / '.env'}")
    assert (found.schema.value, found.schema.origin) == ("from_dotenv", f"HOLDFAST_SCHEMA in {project / '.env'}")


def test_and_in_the_end_an_embedded_postgres(empty: Path) -> None:
    found = settings(empty)
    assert (found.database_url.value, found.database_url.origin) == (None, "default")
    assert (found.schema.value, found.payload_limit.value, found.auto_setup.value) == ("holdfast", 131_072, True)


def test_an_empty_variable_says_nothing(project: Path) -> None:
    assert settings(project, {"HOLDFAST_DATABASE_URL": "", "DATABASE_URL": " "}).database_url.value == FILE


def test_each_setting_goes_its_own_way(project: Path) -> None:
    found = settings(project, {"HOLDFAST_SCHEMA": "from_variable"}, database_url=CODE)
    assert (found.database_url.origin, found.schema.origin) == ("App(database_url=)", "HOLDFAST_SCHEMA")


def test_the_nearest_file_counts(project: Path) -> None:
    inner = project / "services" / "shop"
    inner.mkdir(parents=True)
    assert settings(inner).database_url.value == FILE
    (project / "services" / "pyproject.toml").write_text('[tool.holdfast]\ndatabase_url = "postgresql://nearer/db"\n')
    assert settings(inner).database_url.value == "postgresql://nearer/db"


def test_a_pyproject_without_our_table_is_passed_over(project: Path) -> None:
    inner = project / "shop"
    inner.mkdir()
    (inner / "pyproject.toml").write_text('[project]\nname = "shop"\n')
    assert settings(inner).database_url.value == FILE


def test_dotenv_is_looked_for_up_to_the_project_and_no_further(tmp_path: Path) -> None:
    project, inner = tmp_path / "shop", tmp_path / "shop" / "deep" / "inside"
    inner.mkdir(parents=True)
    (project / ".git").mkdir()
    (tmp_path / ".env").write_text(f"DATABASE_URL={COMMON}\n")
    assert settings(inner).database_url.value is None
    (project / ".env").write_text(f"DATABASE_URL={DOTENV}\n")
    assert settings(inner).database_url.value == DOTENV


def test_embedded_can_be_asked_for_by_name(project: Path) -> None:
    found = settings(project, {"HOLDFAST_DATABASE_URL": "embedded", "DATABASE_URL": COMMON})
    assert (found.database_url.value, found.database_url.origin) == (None, "HOLDFAST_DATABASE_URL")


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+asyncpg", "postgresql+psycopg"])
def test_the_schemes_of_other_libraries_are_understood(empty: Path, scheme: str) -> None:
    assert settings(empty, database_url=f"{scheme}://u:p@h/db").database_url.value == "postgresql://u:p@h/db"


def test_paths_are_taken_from_the_file_that_names_them(project: Path) -> None:
    (project / "holdfast.toml").write_text('[holdfast]\ndata_dir = "data/postgres"\n')
    inner = project / "shop"
    inner.mkdir()
    found = settings(inner)
    assert found.data_dir.value == project / "data/postgres"
    assert found.embedded.data_dir == project / "data/postgres"


def test_embedded_settings_from_the_code_are_taken_whole(project: Path) -> None:
    own = EmbeddedSettings(data_dir=Path("/somewhere"), durability="test")
    found = settings(project, {"HOLDFAST_DATA_DIR": "/elsewhere"}, own)
    assert found.embedded is own
    assert (found.data_dir.value, found.data_dir.origin) == (Path("/somewhere"), "App(embedded=)")


def test_all_mistakes_are_told_at_once(project: Path) -> None:
    (project / "holdfast.toml").write_text('[holdfast]\nshema = "x"\n')
    environ = {"HOLDFAST_SCHEMA": "Not-Plain", "HOLDFAST_PAYLOAD_LIMIT": "lots", "HOLDFAST_AUTO_SETUP": "perhaps"}
    with pytest.raises(ConfigurationError) as caught:
        settings(project, environ, database_url="mysql://u:secret@h/db")
    mistakes = "\n".join(caught.value.mistakes)
    for words in (
        f"{project / 'holdfast.toml'}: 'shema' is not a setting",
        "database_url (App(database_url=)): 'mysql://u:***@h/db' is not the URL of a Postgres",
        "schema (HOLDFAST_SCHEMA): schema 'Not-Plain' is not a plain lower-case name",
        "payload_limit (HOLDFAST_PAYLOAD_LIMIT): 'lots' is not a number of bytes",
        "auto_setup (HOLDFAST_AUTO_SETUP): 'perhaps' is neither true nor false",
    ):
        assert words in mistakes
    assert len(caught.value.mistakes) == 5
    assert "secret" not in mistakes


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[holdfast\n", "cannot be read"),
        ('database_url = "postgresql://h/db"\n', "'database_url' stands outside of [holdfast]"),
        ("holdfast = 3\n", "is not a table"),
        ("[holdfast]\ndatabase_url = 5432\n", "5432 is not a text"),
        ('[holdfast]\ndatabase_url = " "\n', "is empty"),
        ("[holdfast]\npayload_limit = true\n", "True is not a number of bytes"),
        ("[holdfast]\npayload_limit = 0\n", "0 is not a number of bytes"),
    ],
)
def test_a_mistake_in_the_file_is_told(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "holdfast.toml").write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        settings(tmp_path)
    assert words in str(caught.value)
    assert str(tmp_path / "holdfast.toml") in str(caught.value)


@pytest.mark.parametrize(("word", "meaning"), [("true", True), ("OFF", False), ("1", True), ("no", False)])
def test_truths_have_several_words(empty: Path, word: str, meaning: Any) -> None:
    assert settings(empty, {"HOLDFAST_AUTO_SETUP": word}).auto_setup.value is meaning
