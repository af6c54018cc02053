"""An exported run is read back as it was, whoever wrote it, and what is none is refused with the reason."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.core.errors import InvalidInput
from holdfast.core.exact_json import read_exactly, write_exactly
from holdfast.core.export import FORMAT, ExportedResult, RunExport
from holdfast.core.journal import Entry, EntryKind
from holdfast.core.states import Ending, RunKind

AT = datetime(2026, 3, 1, 9, 0, 0, 123456, tzinfo=UTC)


def run(**changes: object) -> RunExport:
    fields: dict[str, object] = {
        "run_id": UUID("0197b2f0-7c3e-7a41-9d5c-2f6b8e1d4a90"),
        "kind": RunKind.WORKFLOW,
        "name": "order",
        "version": "2",
        "lane": "default",
        "priority": "medium",
        "input": '{"amount":1.10,"big":12345678901234567890,"tiny":1E-400}',
        "tags": {"customer": "Ada Łovelace"},
        "options": '{"lineage":{"earlier":[]}}',
        "parent": None,
        "root": UUID(int=7),
        "created_at": AT,
        "first_claim_at": AT + timedelta(seconds=1),
        "entered": True,
        "journal": (
            Entry(1, EntryKind.PATCH, "patch:tax", AT),
            Entry(2, EntryKind.ATTEMPT, "charge#1@1", AT, b"\x01\xff", None, '{"type":"x"}', 1, AT + timedelta(days=1)),
            Entry(3, EntryKind.ACTIVITY, "charge#1", AT, b"12345678", "null", None, 2),
            Entry(4, EntryKind.SIGNAL, "signal:go#1", AT, None, '"\\ud800 \\u0000"'),
        ),
        "result": ExportedResult(ending=Ending.FAILED, at=AT, error='{"type":"builtins:ValueError","message":"no"}'),
    }
    return RunExport(**(fields | changes))  # type: ignore[arg-type]


def test_a_run_is_read_back_as_it_was_written() -> None:
    for one in (run(), run(result=None, version=None, options=None, first_claim_at=None, journal=())):
        assert RunExport.from_json(one.to_json()) == one
        assert RunExport.from_json(one.to_json().encode()) == one


def test_the_document_is_readable_and_says_what_it_is() -> None:
    document = json.loads(run().to_json())
    assert (document["holdfast"], document["format"]) == ("run", FORMAT)
    assert document["run"]["id"] == "0197b2f0-7c3e-7a41-9d5c-2f6b8e1d4a90"
    assert document["journal"][0] == {
        "seq": 1,
        "kind": "patch",
        "key": "patch:tax",
        "at": "2026-03-01T09:00:00.123456+00:00",
    }
    assert document["journal"][2]["output"] is None
    assert document["result"]["status"] == "failed"
    assert '"amount": 1.10,' in run().to_json()
    assert "Łovelace" in run().to_json()


def test_what_a_later_version_adds_is_passed_over() -> None:
    document = json.loads(run().to_json())
    document["more"] = document["run"]["more"] = document["journal"][0]["more"] = [1]
    assert RunExport.from_json(json.dumps(document)).journal[0] == run().journal[0]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "this is not an exported run: it is not JSON"),
        ("[1]", "this is not an exported run: it does not say"),
        ('{"holdfast": "schedule"}', "this is not an exported run: it does not say"),
        ('{"holdfast": "run", "format": 2}', "was exported in format 2, and this version of Holdfast reads format 1"),
        ('{"holdfast": "run", "format": 1, "run": {}}', "this exported run is damaged: KeyError"),
        (run().to_json().replace('"patch"', '"patsch"'), "this exported run is damaged: KeyError: 'PATSCH'"),
        (run().to_json().replace("0197b2f0", "zzz"), "this exported run is damaged: ValueError"),
    ],
)
def test_what_is_no_exported_run_is_refused(text: str, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        RunExport.from_json(text)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(value=values, indent=st.sampled_from([None, 2]))
def test_json_is_read_and_written_exactly(value: object, indent: int | None) -> None:
    written = write_exactly(read_exactly(json.dumps(value)), indent=indent)
    assert json.loads(written) == value
    assert write_exactly(read_exactly(written), indent=indent) == written
    if indent is None:
        assert write_exactly(read_exactly("[1.10,1E+400,-0.0,0]")) == "[1.10,1E+400,-0.0,0]"
