"""The commands that the guide shows can be given as they stand there."""

from __future__ import annotations

import shlex
from pathlib import Path

import click
import pytest

from holdfast.cli.main import holdfast as command_line
from holdfast.cli.worker.group import Running
from tests.docs.test_guide import PAGES, sections


def commands() -> list[str]:
    shells = [
        block for page in PAGES for section in sections(page) for block in section.blocks if block.language == "sh"
    ]
    return list(dict.fromkeys(line for block in shells for line in block.text.splitlines() if line))


@pytest.mark.parametrize("line", commands())
def test_the_commands_can_be_parsed(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tests" / "runs").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    words = shlex.split(line.partition(" | ")[0].partition(" > ")[0], comments=True)
    assert words.pop(0) == "holdfast"
    here: click.Command = command_line
    context = click.Context(here, info_name="holdfast")
    while isinstance(here, click.Group):
        if isinstance(here, Running):
            words = here.named(words)
        found = here.get_command(context, words.pop(0))
        assert found is not None, line
        here = found
    # With its arguments checked, and nothing done.
    here.make_context(here.name, words, parent=context)
