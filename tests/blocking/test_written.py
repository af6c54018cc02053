"""The blocking classes have every verb of the async ones, with the same signature."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any, get_overloads

import pytest

from holdfast.app.blocking import (
    BlockingClient,
    BlockingDeadLetters,
    BlockingDriven,
    BlockingDrivenConsumer,
    BlockingDrivenRun,
    BlockingLimits,
    BlockingMessage,
    BlockingQueue,
    BlockingRecords,
    BlockingRunHandle,
    BlockingRuns,
    BlockingSchedules,
    BlockingStep,
    BlockingWorkers,
)
from holdfast.client import (
    Client,
    DeadLetters,
    Driven,
    DrivenConsumer,
    DrivenRun,
    Limits,
    Message,
    Queue,
    Records,
    RunHandle,
    Runs,
    Step,
    Workers,
)
from holdfast.client.schedules import Schedules
from tests.blocking.writer import ROOT, TWINS, Twin, attributes, verbs, written

PAIRS = [
    (Client, BlockingClient),
    (RunHandle, BlockingRunHandle),
    (Schedules, BlockingSchedules),
    (Runs, BlockingRuns),
    (Workers, BlockingWorkers),
    (Limits, BlockingLimits),
    (Records, BlockingRecords),
    (Driven, BlockingDriven),
    (DrivenConsumer, BlockingDrivenConsumer),
    (DrivenRun, BlockingDrivenRun),
    (Step, BlockingStep),
    (Queue, BlockingQueue),
    (DeadLetters, BlockingDeadLetters),
    (Message, BlockingMessage),
]
TWINS_OF = {
    "BlockingRunHandle": "RunHandle",
    "BlockingRuns": "Runs",
    "BlockingDrivenConsumer": "DrivenConsumer",
    "BlockingDrivenRun": "DrivenRun",
    "BlockingStep": "Step",
    "BlockingMessage": "Message",
    "BlockingConsumer": "Consumer",
}


def public(cls: type) -> dict[str, Callable[..., Any]]:
    """Its public verbs, as Python sees them."""
    return {name: value for name, value in vars(cls).items() if inspect.isfunction(value) and not name.startswith("_")}


def signature(verb: Callable[..., Any]) -> list[tuple[Any, ...]]:
    """Each parameter as it is written, without ``connection``, and what is given."""
    found = inspect.signature(verb)
    parameters = [
        (one.name, one.kind, one.default, as_async(str(one.annotation)))
        for one in found.parameters.values()
        if one.name != "connection"
    ]
    return [*parameters, (as_async(str(found.return_annotation)),)]


def as_async(annotation: str) -> str:
    """The same type as the async class has it."""
    annotation = annotation.replace("AsyncIterator[", "Iterator[")
    return re.sub(rf"\b({'|'.join(TWINS_OF)})\b", lambda found: TWINS_OF[found[1]], annotation)


@pytest.mark.parametrize(("asynchronous", "blocking"), PAIRS)
def test_every_public_verb_is_bridged_with_the_same_signature(asynchronous: type, blocking: type) -> None:
    expected, found = public(asynchronous), public(blocking)
    assert set(found) | {"close"} == set(expected) | {"close"}, "run ./dev write"
    for name, verb in expected.items():
        assert signature(found[name]) == signature(verb), f"{asynchronous.__name__}.{name}: run ./dev write"
        overloads = [signature(one) for one in get_overloads(verb)]
        assert [signature(one) for one in get_overloads(found[name])] == overloads, name
        assert not inspect.iscoroutinefunction(found[name])


@pytest.mark.parametrize("twin", TWINS, ids=lambda twin: twin.name)
def test_every_public_attribute_is_there(twin: Twin) -> None:
    (blocking,) = [b for a, b in PAIRS if a.__name__ == twin.name]
    there = {name for name in dir(blocking) if not name.startswith("_")}
    assert attributes(twin) <= there
    assert verbs(twin)


def test_what_is_written_is_what_would_be_written_now() -> None:
    for path, text in written().items():
        assert path.read_text(encoding="utf-8") == text, f"{path.relative_to(ROOT)}: run ./dev write"


@pytest.mark.parametrize("twin", TWINS, ids=lambda twin: twin.name)
def test_what_is_written_by_hand_passes_on_every_filter(twin: Twin) -> None:
    """One that is dropped would do to all runs what was meant for some."""
    for name, body in twin.bodies.items():
        (verb,) = verbs(twin)[name][-1:]
        for parameter in verb.args.kwonlyargs:
            assert re.search(rf"\b{parameter.arg}={parameter.arg}\b", body), f"{twin.name}.{name}: {parameter.arg}"
