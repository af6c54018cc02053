"""The linter finds the usual non-determinism in workflow code, and nothing where there is none."""

from __future__ import annotations

import importlib
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from holdfast import App
from holdfast.core.digest import digest_of
from holdfast.lint import Finding, LintReport, lint
from holdfast.lint.rules import plain_name, rule_for

SAMPLE = Path(__file__).parent / "sample"
WRONG = re.compile(r"# wrong: ([\w-]+)$")


def expected(text: str) -> set[tuple[int, str]]:
    found = [(number, WRONG.search(line)) for number, line in enumerate(text.splitlines(), 1)]
    return {(number, match[1]) for number, match in found if match is not None}


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LintReport]:
    """Of the sample, which is kept as a text so that the checks of this project pass it by."""
    place = tmp_path_factory.mktemp("project")
    package = place / "lint_sample"
    package.mkdir()
    (package / "__init__.py").touch()
    for file in SAMPLE.glob("*.py.txt"):
        shutil.copy(file, package / file.stem)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [str(place), *sys.path])
        yield lint(importlib.import_module("lint_sample.workflows").app.executables)
        for name in ("lint_sample.workflows", "lint_sample.parts", "lint_sample"):
            patch.delitem(sys.modules, name)


@pytest.mark.parametrize("name", ["workflows", "parts"])
def test_each_wrong_line_is_found_and_no_other(report: LintReport, name: str) -> None:
    wrong = expected((SAMPLE / f"{name}.py.txt").read_text(encoding="utf-8"))
    found = {(one.line, one.rule) for one in report.findings if Path(one.file).stem == name}
    assert sorted(wrong - found) == [], "not found"
    assert sorted(found - wrong) == [], "found, and not wrong"
    assert len(found) > 5


def test_every_kind_of_rule_is_shown(report: LintReport) -> None:
    kinds = {"clock", "random", "identity", "io", "environment", "network", "database", "process", "thread"}
    assert {one.rule for one in report.findings} == kinds | {"set-order", "global-state", "allow"}


def at(report: LintReport, what: str) -> Finding:
    (found,) = [one for one in report.findings if one.what.startswith(what)]
    return found


def test_a_finding_says_where_what_and_what_to_use_instead(report: LintReport) -> None:
    found = at(report, "dt.datetime.utcnow()")
    assert (found.what, found.instead) == (
        "dt.datetime.utcnow() reads the clock",
        "use holdfast.now(), which is the same on every replay",
    )
    assert (found.workflow, found.through, found.column) == ("clocks", ("clocks",), 5)
    assert at(report, "uuid.uuid1()").instead == "use holdfast.uuid4(), which is the same on every replay"
    assert "activity" in at(report, "subprocess.run()").instead
    assert "sorted" in at(report, "tags | {'x'}").instead


def test_what_a_workflow_comes_to_by_others_says_which_way(report: LintReport) -> None:
    (found,) = [one for one in report.findings if one.through[-1:] == ("deeper",)]
    assert (found.workflow, found.through) == ("follows", ("follows", "deep", "deeper"))


def test_a_comment_allows_with_its_reason(report: LintReport) -> None:
    reasons = {one.finding.rule: one.reason for one in report.allowed}
    assert reasons == {"clock": "only shown to people", "set-order": "the order does not matter here"}
    assert "give a reason" in at(report, "random.random() is allowed").instead
    assert "without a reason" in at(report, "random.random() is allowed").what


def test_activities_are_not_read_and_their_functions_are_where_they_are_called_directly(report: LintReport) -> None:
    assert not [one for one in report.findings if "charge" in one.through and one.workflow != "follows"]


def test_a_workflow_without_findings_passes() -> None:
    app = App()

    @app.workflow
    async def fine(words: list[str]) -> str:
        return "".join(sorted(set(words)))

    report = lint(app.executables)
    assert (report.ok, report.workflows, report.findings, report.unread) == (True, 1, [], [])


def test_a_workflow_that_cannot_be_read_is_named() -> None:
    app = App()
    names: dict[str, Any] = {}
    exec("async def made(): return 1", names)  # noqa: S102
    app.workflow(names["made"])
    report = lint(app.executables)
    assert (report.ok, report.unread) == (False, ["made"])


def test_state_of_a_function_around_the_workflow_is_shared_too() -> None:
    app = App()
    calls: list[str] = []

    @app.workflow
    async def leaks(word: str) -> None:
        calls.append(word)

    assert [one.rule for one in lint(app.executables).findings] == ["global-state"]


def test_each_version_is_read() -> None:
    app = App()

    @app.workflow(name="order", version=1)
    async def before() -> int:
        return hash("x")

    @app.workflow(name="order", version=2)
    async def order() -> int:
        return len(digest_of("x"))

    assert [one.workflow for one in lint(app.executables).findings] == ["order@1"]


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("posix.listdir", "os.listdir"),
        ("posixpath.exists", "os.path.exists"),
        ("_io.open", "open"),
        ("pathlib._local.Path.exists", "pathlib.Path.exists"),
        ("pathlib.PosixPath.exists", "pathlib.Path.exists"),
        ("asyncio.threads.to_thread", "asyncio.to_thread"),
    ],
)
def test_a_function_is_known_whatever_file_it_is_written_in(name: str, plain: str) -> None:
    assert plain_name(name) == plain
    assert rule_for(plain_name(name)) is not None
