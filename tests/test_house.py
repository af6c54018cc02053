"""The house stands as docs/architecture.md draws it: every folder has a layer, a word about itself, and short files."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "src" / "holdfast"
LONGEST_FILE = 500

FOLDERS = sorted(path.parent for path in PACKAGE.rglob("__init__.py") if path.parent != PACKAGE)


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def layers() -> list[str]:
    with (ROOT / "pyproject.toml").open("rb") as file:
        linter = tomllib.load(file)["tool"]["importlinter"]
    (house,) = (contract for contract in linter["contracts"] if contract["id"] == "house")
    return [name for layer in house["layers"] for name in re.split(r"[\s|:()]+", layer) if name]


def test_every_folder_has_a_layer() -> None:
    folders = {path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"}
    # An empty folder may be left over from another branch; one with a Python file in it is a room of the house.
    rooms = {name for name in folders if any((PACKAGE / name).rglob("*.py"))}
    assert rooms <= set(layers()), f"add to the layers in pyproject.toml: {', '.join(sorted(rooms - set(layers())))}"


def test_no_layer_is_listed_twice() -> None:
    assert sorted(layers()) == sorted(set(layers()))


def test_every_folder_with_code_is_a_package() -> None:
    bare = {path.parent for path in PACKAGE.rglob("*.py")} - {PACKAGE, *FOLDERS}
    assert not bare, f"no __init__.py in {', '.join(sorted(map(named, bare)))}"


@pytest.mark.parametrize("folder", FOLDERS, ids=named)
def test_every_folder_says_what_lives_in_it(folder: Path) -> None:
    docstring = ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf-8"))) or ""
    assert docstring.rstrip().endswith("."), f"{named(folder)}/__init__.py needs a paragraph: what lives here, what not"
    assert len(docstring.split()) >= 8, f"{named(folder)}/__init__.py says too little: what lives here, what not"


def test_no_file_is_too_long_for_one_reading() -> None:
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in sources()}
    too_long = {named(path): lines for path, lines in lengths.items() if lines > LONGEST_FILE}
    assert not too_long, f"longer than {LONGEST_FILE} lines, so each holds two nouns: {too_long}"


def sources() -> list[Path]:
    return [path for path in (ROOT / "src").rglob("*") if path.suffix in {".py", ".sql"}]


def test_the_package_says_that_it_is_typed() -> None:
    assert (PACKAGE / "py.typed").is_file()


def test_every_guarantee_names_a_test_that_exists() -> None:
    named_tests = re.findall(r"`(tests/\S+\.py)` `(test_\w+)`", (ROOT / "docs" / "guarantees.md").read_text("utf-8"))
    assert named_tests
    missing = [
        f"{file}: {name}"
        for file, name in named_tests
        if not re.search(rf"def {name}\(", (ROOT / file).read_text("utf-8") if (ROOT / file).is_file() else "")
    ]
    assert not missing
