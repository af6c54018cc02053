"""Finding an app by the words of the command line."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast.app import load_app
from holdfast.core.errors import ConfigurationError

SHOP = """
from holdfast import App
app = App()
class Box:
    inner = App()
number = 17
"""


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "load_shop.py").write_text(SHOP)
    (tmp_path / "load_empty.py").write_text("")
    (tmp_path / "load_broken.py").write_text("import load_nothing_of_the_kind\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_an_app_is_found_in_the_current_directory() -> None:
    assert load_app("load_shop:app") is sys.modules["load_shop"].app


def test_the_only_app_of_a_module_needs_no_name() -> None:
    assert load_app("load_shop") is sys.modules["load_shop"].app


def test_an_attribute_can_be_dotted() -> None:
    assert load_app("load_shop:Box.inner") is sys.modules["load_shop"].Box.inner


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("load_shops:app", "there is no module 'load_shops', seen from"),
        ("load_missing.inner:app", "there is no module 'load_missing'"),
        ("load_shop:ap", "has no 'ap'; apps in it: app"),
        ("load_shop:number", "number in load_shop is of class int, not an App; apps in it: app"),
        ("load_shop:Box", "is the class Box, not an App"),
        ("load_empty:app", "there is no App in it"),
        ("load_empty", "name the attribute, as in load_empty:app; there is no App in it"),
        ("load_shop.py:app", "write module:attribute"),
        ("shop/load_shop:app", "write module:attribute"),
        (":app", "write module:attribute"),
    ],
)
def test_what_cannot_be_found_is_told_with_what_there_is(spec: str, words: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_app(spec)
    assert words in str(caught.value)


def test_a_mistake_inside_the_module_is_not_hidden() -> None:
    with pytest.raises(ModuleNotFoundError, match="load_nothing_of_the_kind"):
        load_app("load_broken:app")
