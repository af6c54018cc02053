"""Types hold under both checkers: what is right passes, and each wrong line is an error."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Checker = Callable[[Path], dict[int, str]]

HERE = Path(__file__).parent
ROOT = HERE.parent.parent


def pyright(file: Path) -> dict[int, str]:
    """Each line with an error, and the error."""
    done = subprocess.run(
        [sys.executable, "-m", "pyright", "--outputjson", str(file)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    found = json.loads(done.stdout)["generalDiagnostics"]
    return {one["range"]["start"]["line"] + 1: one["message"] for one in found if one["severity"] == "error"}


def mypy(file: Path) -> dict[int, str]:
    """Each line with an error, and the error."""
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--no-error-summary", "--hide-error-context", str(file)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    lines = re.findall(rf"^(?:.*/)?{re.escape(file.name)}:(\d+): error: (.*)$", done.stdout, re.MULTILINE)
    return {int(line): message for line, message in lines}


def wrong_lines(file: Path) -> set[int]:
    lines = file.read_text(encoding="utf-8").splitlines()
    return {number for number, line in enumerate(lines, 1) if line.endswith("# wrong")}


@pytest.mark.parametrize("checker", [pyright, mypy])
@pytest.mark.parametrize("file", sorted(HERE.glob("good_*.py")), ids=lambda file: file.stem)
def test_what_is_right_passes(checker: Checker, file: Path) -> None:
    assert checker(file) == {}


@pytest.mark.parametrize("checker", [pyright, mypy])
@pytest.mark.parametrize("text", sorted(HERE.glob("bad_*.py.txt")), ids=lambda text: text.name.partition(".")[0])
def test_what_is_wrong_does_not(checker: Checker, text: Path, tmp_path: Path) -> None:
    # Kept as a text, so that the checks of the whole project pass it by.
    file = tmp_path / text.name.removesuffix(".txt")
    file.write_text(text.read_text(encoding="utf-8"), encoding="utf-8")
    found = checker(file)
    expected = wrong_lines(file)
    passed = sorted(expected - set(found))
    unexpected = {line: message for line, message in found.items() if line not in expected}
    assert expected
    assert (passed, unexpected) == ([], {})
