"""The command as a whole: help, versions, and how errors leave it."""

from __future__ import annotations

import re
from importlib.metadata import version

import click
import pytest

from holdfast.cli.exit_code import ExitCode
from holdfast.cli.main import answer, holdfast
from holdfast.core.errors import ConfigurationError, DatabaseUnavailable, HoldfastError


def commands(group: click.Command = holdfast, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found = [path]
    if isinstance(group, click.Group):
        for name, command in group.commands.items():
            found += commands(command, (*path, name))
    return found


@pytest.mark.parametrize("path", commands(), ids=" ".join)
def test_every_help_page_teaches_with_an_example(path: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert answer([*path, "--help"]) == 0
    text = capsys.readouterr().out
    assert re.search(rf"^ +holdfast {' '.join(path)}".rstrip(), text, re.MULTILINE), text


def test_the_exit_codes_are_in_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    answer(["--help"])
    text = " ".join(capsys.readouterr().out.split())
    for code in ExitCode:
        assert f"{code.value} {code.meaning}" in text


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert answer(["--version"]) == 0
    assert capsys.readouterr().out == f"holdfast {version('holdfast')}\n"


def failing(error: BaseException) -> click.Command:
    @click.command("fail")
    def fail() -> None:
        raise error

    return fail


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (HoldfastError("no"), 1, "holdfast: no\n"),
        (DatabaseUnavailable("away"), 3, "holdfast: away\n"),
        (ConfigurationError("one"), 2, "holdfast: one\n"),
        (ConfigurationError("one", "two"), 2, "holdfast: these settings cannot work:\n  - one\n  - two\n"),
        (ExceptionGroup("g", [ExceptionGroup("h", [DatabaseUnavailable("away")])]), 3, "holdfast: away\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_an_error_is_a_line_and_an_exit_code(
    error: BaseException, code: int, words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(holdfast.commands, "fail", failing(error))
    assert answer(["fail"]) == code
    said = capsys.readouterr()
    assert (said.out, said.err.lstrip()) == ("", words)


def test_an_error_that_is_not_ours_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(holdfast.commands, "fail", failing(ZeroDivisionError("ours to mend")))
    with pytest.raises(ZeroDivisionError):
        answer(["fail"])


def test_an_unknown_command_gives_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert answer(["fly"]) == 2
    assert "No such command 'fly'" in capsys.readouterr().err
