"""State: written once for each change, whatever is replayed, coalesced or lost on the way."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.core.errors import DefinitionError
from holdfast.core.journal import EntryKind, state_name
from holdfast.workflow.activity import Activity
from holdfast.workflow.clock import sleep
from holdfast.workflow.instance import Activation, RunActivity, StartTimer
from holdfast.workflow.notes import Note
from holdfast.workflow.signal import Signal
from holdfast.workflow.state import LARGEST_STATE, State, set_state
from holdfast.workflow.workflow import Workflow
from tests.workflow.stage import Stage

word = Signal[str]("word")


@dataclass
class Progress:
    done: int
    of: int


progress = State[Progress]("progress")


@Activity
async def step(name: int) -> int:
    return name


def told(activation: Activation) -> list[tuple[str, Any]]:
    return [(note.key, json.loads(note.output or "null")) for note in activation.notes]


def write(stage: Stage, notes: Sequence[Note]) -> None:
    """Commits what the run wants written, as a worker does."""
    for note in notes:
        stage.record(note.kind, note.key, output=note.output)


@Workflow
async def counts(upto: int) -> int:
    for number in range(upto):
        set_state("phase", "busy")
        set_state("phase", f"step {number}")
        progress.set(Progress(number, upto))
        await step(number)
    set_state("phase", "done")
    return upto


def test_of_several_changes_before_it_is_written_the_last_one_counts() -> None:
    stage = Stage(counts, 2)
    assert told(stage.go()) == [("state:phase#0", "step 0"), ("state:progress#0", {"done": 0, "of": 2})]
    assert told(stage.work("step#1")) == [("state:phase#1", "step 1"), ("state:progress#1", {"done": 1, "of": 2})]
    last = stage.work("step#2")
    assert last.end is not None
    assert told(last) == [("state:phase#2", "done")], "also with the end of the run"


def test_a_replay_writes_nothing_again() -> None:
    stage = Stage(counts, 3)
    write(stage, stage.go().notes)
    write(stage, stage.work("step#1").notes)
    assert told(stage.move()) == []
    assert told(stage.work("step#2")) == [("state:phase#2", "step 2"), ("state:progress#2", {"done": 2, "of": 3})]


def test_what_a_crash_has_swallowed_is_written_by_the_replay() -> None:
    stage = Stage(counts, 3)
    write(stage, stage.go().notes)
    stage.work("step#1")  # and the worker dies
    assert told(stage.move()) == [("state:phase#1", "step 1"), ("state:progress#1", {"done": 1, "of": 3})]
    stage.work("step#2")
    assert told(stage.move()) == [("state:phase#2", "step 2"), ("state:progress#2", {"done": 2, "of": 3})], "the newest"


def test_code_that_sets_something_else_on_replay_is_no_error() -> None:
    words = ["a", "b"]

    @Workflow
    async def changes() -> int:
        for text in words:
            set_state("word", text)
        await step(1)
        set_state("word", "after")
        return await step(2)

    stage = Stage(changes)
    write(stage, stage.go().notes)
    words[:] = ["c"]
    assert told(stage.move()) == [], "what was recorded stays"
    assert told(stage.work("step#1")) == [("state:word#1", "after")]
    words.clear()
    assert stage.move().blocked is None


def test_code_that_comes_by_fewer_places_is_still_heard() -> None:
    waits = [3]

    @Workflow
    async def listens() -> None:
        for number in range(waits[0]):
            await word.wait()
            set_state("heard", number)
        await step(0)
        set_state("heard", "all")
        await step(1)

    stage = Stage(listens)
    stage.go()
    for text in "abc":
        write(stage, stage.send(word, text).notes)
    waits[0] = 1
    stage.move()
    assert told(stage.work("step#1")) == [("state:heard#4", "all")]


@pytest.mark.parametrize("key", ["", " x", "a#b", "x" * 201, "a\nb"])
def test_a_key_that_cannot_be_used(key: str) -> None:
    with pytest.raises(DefinitionError, match="for a state"):
        State[int](key)


async def test_it_works_in_workflow_code_only() -> None:
    with pytest.raises(RuntimeError, match="workflow code only"):
        set_state("x", 1)
    with pytest.raises(RuntimeError, match="workflow code only"):
        progress.set(Progress(1, 2))


@pytest.mark.parametrize(
    ("value", "words"),
    [({1, 2}, "cannot be stored"), ("x" * LARGEST_STATE, f"at most {LARGEST_STATE:,}"), (object(), "cannot be stored")],
)
def test_a_value_that_cannot_be_stored_is_an_error_where_it_is_set(value: object, words: str) -> None:
    @Workflow
    async def sets() -> None:
        set_state("x", value)

    stage = Stage(sets)
    stage.go()
    failure = stage.result.failure
    assert failure is not None
    assert failure.type.endswith(":Unstorable")
    assert words in failure.message


def test_a_typed_state_refuses_another_type() -> None:
    @Workflow
    async def sets() -> None:
        progress.set({"done": "one"})  # type: ignore[arg-type]

    stage = Stage(sets)
    stage.go()
    assert stage.result.failure is not None
    assert stage.result.failure.type.endswith(":InvalidInput")


def test_a_run_that_is_dropped_says_nothing_any_more() -> None:
    @Workflow
    async def leaves() -> None:
        try:
            await sleep(60)
        finally:
            set_state("left", "yes")

    stage = Stage(leaves)
    stage.go()
    stage.instance.close()
    assert told(stage.instance.activate()) == []


# ---- whatever happens


@Workflow
async def branches(plan: list[list[int]]) -> int:
    done = 0

    async def branch(name: int, steps: list[int]) -> None:
        nonlocal done
        for one in steps:
            set_state(f"branch {name}", [name, one, done])
            if one % 3:
                await step(done)
            else:
                await sleep(one + 1)
            done += 1
            set_state("total", done)

    await asyncio.gather(*(branch(name, steps) for name, steps in enumerate(plan)))
    return done


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    plan=st.lists(st.lists(st.integers(0, 8), max_size=5), min_size=1, max_size=4),
    events=st.lists(st.tuples(st.integers(0, 20), st.sampled_from(["on", "on", "lost", "moved", "late"])), max_size=40),
)
def test_the_newest_value_is_the_one_that_was_set_last(plan: list[list[int]], events: list[tuple[int, str]]) -> None:
    """Steps end in any order; notes are written, written late together with the next, or lost in a crash."""
    stage = Stage(branches, plan)
    expected: dict[str, object] = {}
    late: list[Note] = list(stage.go().notes)
    choices = iter([*events, *[(0, "on")] * 60])
    while stage.last.end is None:
        number, fate = next(choices)
        if fate in ("on", "moved"):
            write(stage, late)
            late = []
        if fate in ("lost", "moved"):
            late = list(stage.move().notes)
        command = stage.open[number % len(stage.open)]
        if isinstance(command, RunActivity):
            activation = stage.work(command.key)
        else:
            first = min((c for c in stage.open if isinstance(c, StartTimer)), key=lambda c: c.deadline)
            activation = stage.fire(first.key)
        newer = {state_name(note.key)[0] for note in activation.notes}
        late = [note for note in late if state_name(note.key)[0] not in newer] + list(activation.notes)
    write(stage, late)
    states = [entry for entry in stage.journal if entry.kind is EntryKind.STATE]
    assert len({entry.key for entry in states}) == len(states)
    newest = {state_name(entry.key)[0]: json.loads(entry.output or "null") for entry in states}
    whole = Stage(branches, plan, journal=[entry for entry in stage.journal if entry.kind is not EntryKind.STATE])
    expected = {state_name(key)[0]: value for key, value in told(whole.go())}
    assert newest == expected
    # With everything in the journal there is nothing left to say.
    assert told(Stage(branches, plan, journal=stage.journal).go()) == []
