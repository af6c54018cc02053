"""Types hold under both checkers: what is right passes, and each wrong line is an error."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import pytest

Found = dict[str, dict[int, str]]
"""By the name of a file: each line with an error, and the error."""
Checker = Callable[[Sequence[Path]], Found]

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
GOOD = sorted(HERE.glob("good_*.py"))
BAD = sorted(HERE.glob("bad_*.py.txt"))


def pyright(files: Sequence[Path]) -> Found:
    done = subprocess.run(
        [sys.executable, "-m", "pyright", "--outputjson", *map(str, files)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    errors: Found = {file.name: {} for file in files}
    for one in json.loads(done.stdout)["generalDiagnostics"]:
        if one["severity"] == "error":
            errors[Path(one["file"]).name][one["range"]["start"]["line"] + 1] = one["message"]
    return errors


def mypy(files: Sequence[Path]) -> Found:
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--no-error-summary", "--hide-error-context", *map(str, files)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    errors: Found = {file.name: {} for file in files}
    for name, line, message in re.findall(r"^(?:.*/)?([^/]+\.py):(\d+): error: (.*)$", done.stdout, re.MULTILINE):
        errors[name][int(line)] = message
    return errors


CHECKERS = [pytest.param(one, marks=pytest.mark.xdist_group(one.__name__)) for one in (pyright, mypy)]
"""The tests of a checker run in one process, since it looks at all files at once: most of its time is for beginning."""


@pytest.fixture(scope="module")
def check(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Checker], Found]:
    """What a checker finds in all files; it is asked once."""
    # Those that are wrong are kept as texts, so that the checks of the whole project pass them by.
    place = tmp_path_factory.mktemp("wrong")
    files = list(GOOD)
    for text in BAD:
        files.append(place / text.name.removesuffix(".txt"))
        files[-1].write_text(text.read_text(encoding="utf-8"), encoding="utf-8")

    @cache
    def found(checker: Checker) -> Found:
        return checker(files)

    return found


def wrong_lines(file: Path) -> set[int]:
    lines = file.read_text(encoding="utf-8").splitlines()
    return {number for number, line in enumerate(lines, 1) if line.endswith("# wrong")}


@pytest.mark.parametrize("checker", CHECKERS)
@pytest.mark.parametrize("file", GOOD, ids=lambda file: file.stem)
def test_what_is_right_passes(check: Callable[[Checker], Found], checker: Checker, file: Path) -> None:
    assert check(checker)[file.name] == {}


@pytest.mark.parametrize("checker", CHECKERS)
@pytest.mark.parametrize("text", BAD, ids=lambda text: text.name.partition(".")[0])
def test_what_is_wrong_does_not(check: Callable[[Checker], Found], checker: Checker, text: Path) -> None:
    found = check(checker)[text.name.removesuffix(".txt")]
    expected = wrong_lines(text)
    passed = sorted(expected - set(found))
    unexpected = {line: message for line, message in found.items() if line not in expected}
    assert expected
    assert (passed, unexpected) == ([], {})
