"""Updates, as far as they concern the run: taken once, answered once, and the same on every replay."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.core.errors import DefinitionError, NonDeterminismError
from holdfast.core.failure import Failure
from holdfast.core.journal import EntryKind, update_key
from holdfast.workflow.activity import Activity
from holdfast.workflow.clock import sleep
from holdfast.workflow.instance import Activation, RunActivity
from holdfast.workflow.notes import Note
from holdfast.workflow.race import first_of
from holdfast.workflow.update import Update, UpdateCall
from holdfast.workflow.workflow import Workflow
from tests.workflow.stage import Stage

MINUTE = timedelta(minutes=1)


@dataclass
class Bid:
    amount: int


bid = Update[Bid, str]("bid")
even = Update[int, int]("even")


@even.validator
def is_even(number: int) -> None:
    if number % 2:
        raise ValueError(f"{number} is odd")


@Activity
async def step(number: int) -> int:
    return number


def send(stage: Stage, update: Update[Any, Any], text: str, numbers: itertools.count[int]) -> Activation:
    stage.record(EntryKind.UPDATE, update_key(update.name, next(numbers)), output=text)
    return stage.go()


def said(activation: Activation) -> list[tuple[str, Any]]:
    return [
        (note.key, json.loads(note.output or "null") if note.failure is None else note.failure.message)
        for note in activation.notes
    ]


def write(stage: Stage, notes: tuple[Note, ...] | Any) -> None:
    for note in notes:
        error = None if note.failure is None else note.failure.to_json()
        stage.record(note.kind, note.key, output=note.output, error=error)


@Workflow
async def auction(most: int) -> list[int]:
    bids: list[int] = []
    async for call in bid.calls():
        if bids and call.input.amount <= max(bids):
            call.reject(f"more than {max(bids)}")
            continue
        bids.append(await step(call.input.amount))
        call.reply(f"highest: {call.input.amount}")
        if len(bids) == most:
            break
    return bids


def test_each_is_given_once_and_answered_in_the_activation_that_answers() -> None:
    stage = Stage(auction, 2)
    numbers = itertools.count(1)
    stage.go()
    assert stage.instance.waits_for_signal
    assert said(send(stage, bid, '{"amount":5}', numbers)) == []
    assert said(stage.work("step#1")) == [("reply#1", "highest: 5")]
    assert said(send(stage, bid, '{"amount":4}', numbers)) == [("reply#2", "more than 5")]
    send(stage, bid, '{"amount":9}', numbers)
    assert said(stage.work("step#2")) == [("reply#3", "highest: 9")]
    assert stage.result.output == "[5,9]"


def test_an_answer_that_is_recorded_is_not_written_again_and_one_that_is_lost_is() -> None:
    stage = Stage(auction, 3)
    numbers = itertools.count(1)
    stage.go()
    send(stage, bid, '{"amount":5}', numbers)
    answer = stage.work("step#1").notes
    assert said(stage.move()) == [("reply#1", "highest: 5")], "lost in a crash"
    write(stage, answer)
    assert said(stage.move()) == []


def test_what_does_not_fit_is_refused_and_not_given() -> None:
    stage = Stage(auction, 1)
    numbers = itertools.count(1)
    stage.go()
    (refused,) = send(stage, bid, '{"amount":"much"}', numbers).notes
    assert refused.failure is not None
    assert refused.failure.reason == "refused"
    assert "amount" in refused.failure.message
    write(stage, [refused])
    stage.move()
    send(stage, bid, '{"amount":1}', numbers)
    assert said(stage.work("step#1")) == [("reply#2", "highest: 1")]


@Workflow
async def halves() -> list[int]:
    first, second = await even.wait(), await even.wait()
    second.reply(second.input // 2)
    first.reply(first.input // 2)
    return [first.input, second.input]


def test_the_validator_refuses_and_what_was_refused_stays_so_whatever_it_says_later() -> None:
    stage = Stage(halves)
    numbers = itertools.count(1)
    stage.go()
    refused = send(stage, even, "3", numbers)
    assert said(refused) == [("reply#1", "3 is odd")]
    write(stage, refused.notes)
    send(stage, even, "4", numbers)
    even._check = None  # as a later version of the code
    try:
        stage.move()
        send(stage, even, "6", numbers)
    finally:
        even._check = is_even
    assert stage.result.output == "[4,6]"
    assert said(stage.last) == [("reply#3", 3), ("reply#2", 2)]


def test_code_that_refuses_what_was_taken_and_answered_is_blocked() -> None:
    @Workflow
    async def takes() -> int:
        call = await even.wait()
        call.reply(1)
        return await step(call.input)

    stage = Stage(takes)
    stage.go()
    answer = send(stage, even, "4", itertools.count(1)).notes
    write(stage, answer)

    def nothing_is_good(number: int) -> None:
        raise ValueError("no")

    even._check = nothing_is_good
    try:
        blocked = stage.made(stage.journal).activate().blocked
    finally:
        even._check = is_even
    assert isinstance(blocked, NonDeterminismError)
    assert "update 'even'" in str(blocked)


def test_code_that_refuses_what_was_taken_and_gone_on_from_is_blocked() -> None:
    @Workflow
    async def takes() -> int:
        async for call in even.calls():
            done = await step(call.input)
            await step(done)
            call.reply(done)
        return 0

    stage = Stage(takes)
    stage.go()
    send(stage, even, "4", itertools.count(1))
    assert said(stage.work("step#1")) == []

    def nothing_is_good(number: int) -> None:
        raise ValueError("no")

    even._check = nothing_is_good
    try:
        blocked = stage.made(stage.journal).activate()
    finally:
        even._check = is_even
    assert isinstance(blocked.blocked, NonDeterminismError)
    assert "update 'even'" in str(blocked.blocked)
    assert said(blocked) == [], "whoever waits is not told that it was refused: it was not"


def test_one_answer_each_of_the_right_type() -> None:
    @Workflow
    async def careless() -> list[str]:
        call = await bid.wait()
        heard: list[str] = []
        try:
            call.reply(5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        except Exception as error:
            heard.append(type(error).__name__)
        assert not call.answered
        call.reply("yes")
        for again in (partial(call.reply, "no"), partial(call.reject, "no")):
            try:
                again()
            except RuntimeError as error:
                heard.append(str(error))
        return heard

    stage = Stage(careless)
    stage.go()
    last = send(stage, bid, '{"amount":1}', itertools.count(1))
    assert said(last) == [("reply#1", "yes")]
    twice = "this call of update 'bid' was answered before: one answer each"
    assert json.loads(stage.result.output or "") == ["InvalidInput", twice, twice]


def test_a_wait_with_a_time_limit_and_in_a_race_takes_nothing_when_it_is_over() -> None:
    @Workflow
    async def patient() -> list[str]:
        heard: list[str] = []
        try:
            await bid.wait(timeout=MINUTE)
        except TimeoutError as error:
            heard.append(str(error))
        won = await first_of(bid.wait(), sleep(5))
        heard.append(str(won.which))
        call = await bid.wait()
        call.reply("at last")
        return [*heard, str(call.input.amount)]

    stage = Stage(patient)
    stage.go()
    stage.fire("timer#1")
    stage.fire("timer#2")
    last = send(stage, bid, '{"amount":1}', itertools.count(1))
    assert json.loads(stage.result.output or "") == ["no update 'bid' came within 0:01:00", "1", "1"]
    assert said(last) == [("reply#1", "at last")]


def test_refused_ones_do_not_lengthen_the_time_limit() -> None:
    @Workflow
    async def patient() -> str:
        try:
            await even.wait(timeout=MINUTE)
        except TimeoutError:
            return "over"
        return "?"

    stage = Stage(patient)
    stage.go()
    deadline = stage.instance.next_timer
    send(stage, even, "1", itertools.count(1))
    assert stage.instance.next_timer == deadline
    stage.fire("timer#2")
    assert stage.result.output == '"over"'


@pytest.mark.parametrize("name", ["", " x", "a#b", "x" * 201])
def test_names_that_cannot_be_used(name: str) -> None:
    with pytest.raises(DefinitionError, match="for an update"):
        Update[int, int](name)


async def test_what_is_refused_outside_of_a_workflow() -> None:
    async def asks(number: int) -> None:
        pass

    for wrong in (asks, 5):
        with pytest.raises(DefinitionError, match="is an ordinary function"):
            Update[int, int]("other").validator(cast("Any", wrong))
    with pytest.raises(DefinitionError, match="has a validator already"):
        even.validator(is_even)
    with pytest.raises(RuntimeError, match="workflow code only"):
        await bid.wait()
    with pytest.raises(RuntimeError, match="workflow code only"):
        UpdateCall(update=bid, input=Bid(1), _key="reply#1").reply("x")


# ---- whatever happens


@Workflow
async def mixed(waiters: list[str]) -> list[int]:
    seen: list[int] = []

    async def take(kind: str) -> None:
        match kind:
            case "slow":
                async for call in even.calls():
                    await step(call.input)
                    seen.append(call.input)
                    call.reply(len(seen))
            case "race":
                while True:
                    won = await first_of(even.wait(), sleep(7))
                    if won.which == 0:
                        won.value.reply(len(seen))
                        seen.append(-won.value.input)
            case "late":
                kept = [await even.wait(), await even.wait()]
                await sleep(3)
                for call in kept:
                    call.reject(f"late {len(seen)}")
            case _:
                call = await even.wait(timeout=MINUTE)
                call.reply(call.input)
                seen.append(call.input)

    tasks = [asyncio.create_task(take(kind)) for kind in waiters]
    await bid.wait()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return seen


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    waiters=st.lists(st.sampled_from(["slow", "race", "late", "once"]), min_size=1, max_size=4),
    sent=st.lists(st.integers(0, 9), max_size=10),
    seed=st.integers(0, 2**32),
)
def test_every_update_is_answered_once_and_alike_on_each_replay(waiters: list[str], sent: list[int], seed: int) -> None:
    chance = random.Random(seed)
    stage = Stage(mixed, waiters)
    numbers = itertools.count(1)
    answers: dict[str, object] = {}

    def keep(activation: Activation) -> None:
        for note in activation.notes:
            heard = note.output if note.failure is None else note.failure.message
            assert answers.setdefault(note.key, heard) == heard
        if chance.random() < 0.7:
            write(stage, activation.notes)
        elif activation.notes and activation.end is None:
            keep(stage.move())  # the worker dies before they are written, and so before anything that follows

    keep(stage.go())
    to_send = [*(partial(send, stage, even, str(number), numbers) for number in sent)]
    to_send.append(partial(send, stage, bid, '{"amount":1}', numbers))
    while stage.last.end is None:
        events: list[Callable[[], Activation]] = [to_send[0]] if to_send else []
        for command in stage.open:
            if isinstance(command, RunActivity):
                events.append(partial(stage.work, command.key))
            elif command.key in {c.key for c in stage.open} and chance.random() < 0.3:
                first = min((c for c in stage.open if not isinstance(c, RunActivity)), key=_deadline)
                events.append(partial(stage.fire, first.key))
        if not events:
            first = min((c for c in stage.open if not isinstance(c, RunActivity)), key=_deadline)
            events.append(partial(stage.fire, first.key))
        event = chance.choice(events)
        if to_send and event is to_send[0]:
            to_send.pop(0)
        keep(event())
        if chance.random() < 0.3 and stage.last.end is None:
            keep(stage.move())
    _gives_again(stage, answers)


def _gives_again(stage: Stage, answers: dict[str, object]) -> None:
    """A replay gives what is not recorded of these answers, and nothing else."""
    last = stage.last.end
    # What the code never saw stands in the journal before all that it did then; every other answer it gives again.
    refused = _refused(stage)
    kept = [entry for entry in stage.journal if entry.kind is not EntryKind.REPLY or entry.key in refused]
    replayed = stage.made(kept)
    again = replayed.activate()
    assert again.blocked is None
    assert again.end == last
    told = {note.key: note.output if note.failure is None else note.failure.message for note in again.notes}
    assert told.keys().isdisjoint(refused)
    told |= refused
    assert told == answers
    recorded = [entry for entry in stage.journal if entry.kind is EntryKind.REPLY]
    assert len({entry.key for entry in recorded}) == len(recorded)
    for entry in recorded:
        assert told[entry.key] == (entry.output or Failure.from_json(entry.error or "{}").message)
    whole = stage.made(stage.journal)
    assert {note.key for note in whole.activate().notes} == set(answers) - {entry.key for entry in recorded}
    whole.close()
    replayed.close()


def _refused(stage: Stage) -> dict[str, str]:
    """What was refused before the code saw it, as it is recorded."""
    failures = {entry.key: Failure.from_json(entry.error) for entry in stage.journal if entry.error}
    return {key: failure.message for key, failure in failures.items() if failure.reason == "refused"}


def _deadline(command: Any) -> Any:
    return command.deadline
