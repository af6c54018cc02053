"""What the command prints, and on which stream."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest

from holdfast.cli.output import Output
from holdfast.core.states import RunStatus


def test_words_are_printed_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    text = '["[red]", ":smile:", "' + "long " * 60 + '"]'
    Output(as_json=False).answer({}, text)
    assert capsys.readouterr().out == f"{text}\n"


def test_with_json_words_go_to_the_other_stream(capsys: pytest.CaptureFixture[str]) -> None:
    out = Output(as_json=True)
    out.people.print("for people")
    out.note("a [remark]")
    out.answer({"a": 1}, "never shown")
    said = capsys.readouterr()
    assert (said.out, said.err) == ('{"a": 1}\n', "for people\na [remark]\n")


def test_json_has_one_form_for_each_value(capsys: pytest.CaptureFixture[str]) -> None:
    Output(as_json=True).answer(
        {
            "at": datetime(2030, 1, 31, tzinfo=UTC),
            "for": timedelta(minutes=1),
            "id": UUID(int=7),
            "path": Path("/srv"),
            "status": RunStatus.READY,
            "several": (1, {2}),
            "text": "Zoë",
        }
    )
    text = capsys.readouterr().out
    assert json.loads(text) == {
        "at": "2030-01-31T00:00:00+00:00",
        "for": 60.0,
        "id": "00000000-0000-0000-0000-000000000007",
        "path": "/srv",
        "status": "ready",
        "several": [1, [2]],
        "text": "Zoë",
    }
    assert "Zoë" in text


def test_what_has_no_json_form_is_an_error() -> None:
    with pytest.raises(TypeError, match="object has no JSON form"):
        Output(as_json=True).answer(object())
