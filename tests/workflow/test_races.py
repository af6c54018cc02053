"""Races, fan-outs and conditions: the same winner, the same order and the same moment on every replay."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.core.errors import DefinitionError, InvalidInput
from holdfast.core.journal import EntryKind, signal_key
from holdfast.core.states import Ending
from holdfast.workflow.activity import Activity
from holdfast.workflow.clock import sleep
from holdfast.workflow.condition import wait_until
from holdfast.workflow.fan_out import fan_out
from holdfast.workflow.race import First, first_of, first_signal
from holdfast.workflow.shield import shield
from holdfast.workflow.signal import Signal
from holdfast.workflow.workflow import Workflow
from tests.workflow.stage import Stage, play

MINUTE = timedelta(minutes=1)

word = Signal[str]("word")
count = Signal[int]("count")


class OutOfStock(Exception):
    pass


@Activity
async def fetch(name: str) -> str:
    if name == "unicorn":
        raise OutOfStock(name)
    return f"<{name}>"


@Activity
def double(number: int) -> int:
    return number * 2


# ---- first_of


@Workflow
async def races() -> str:
    async def tidies() -> str:
        try:
            await sleep(50)
            return "slept"
        except asyncio.CancelledError:
            await fetch("tidied up")
            raise

    match await first_of(fetch("a"), count.wait(), tidies()):
        case (0, text):
            return f"fetched {text}"
        case (1, number):
            return f"counted {number + 1}"
        case (_, text):
            return text


def test_the_first_wins_and_says_which_it_is() -> None:
    ends: set[str | None] = set()
    for seed in range(12):
        story = play(races, seed=seed, signals=[(count, 4)])
        assert story.end is not None
        ends.add(story.end.output)
        story.is_replayed_from_everywhere()
    assert ends == {'"fetched <a>"', '"counted 5"', '"slept"'}


def test_losers_are_cancelled_and_waited_for() -> None:
    stage = Stage(races)
    stage.go()
    stage.send(count, 1)
    assert stage.withdrawn == ["fetch#1", "timer#1"]
    assert stage.open_keys == ["fetch#2"], "the clean-up of a loser goes on"
    stage.work("fetch#2")
    assert stage.result.output == '"counted 2"'


def test_a_cancel_reaches_all_and_a_second_one_waits_for_their_clean_up() -> None:
    stage = Stage(races)
    stage.go()
    stage.cancel()
    assert stage.open_keys == ["fetch#2"]
    stage.cancel()
    assert stage.open_keys == ["fetch#2"]
    stage.work("fetch#2")
    assert stage.result.ending is Ending.CANCELLED


def test_an_error_that_comes_first_is_raised_and_one_of_a_loser_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    @Workflow
    async def fails() -> str:
        async def spoils() -> None:
            try:
                await sleep(60)
            finally:
                raise ValueError("on its way out")

        try:
            return (await first_of(fetch("unicorn"), spoils())).which  # type: ignore[return-value]
        except OutOfStock as error:
            return f"no {error}"

    stage = Stage(fails)
    stage.go()
    stage.work("fetch#1")
    assert stage.result.output == '"no unicorn"'
    assert "the loser of a race failed on its way out" in caplog.text


def test_first_of_nothing_is_refused() -> None:
    @Workflow
    async def empty() -> None:
        await first_of()

    stage = Stage(empty)
    stage.go()
    assert stage.result.failure is not None
    assert "needs something to wait for" in stage.result.failure.message


async def test_outside_of_a_workflow_first_of_races_what_it_is_given() -> None:
    assert await first_of(asyncio.sleep(30), asyncio.sleep(0, "quick")) == First(1, "quick")


# ---- first_signal


@Workflow
async def hears() -> list[object]:
    heard: list[object] = []
    for _ in range(2):
        got = await first_signal(word, count, timeout=MINUTE)
        heard.append([got.which, got.value, got.signal.name])
    return heard


def test_the_signal_that_was_sent_first_is_taken_and_of_the_others_none() -> None:
    stage = Stage(hears)
    stage.post(count, 1)
    stage.post(word, "a")
    stage.go()
    assert stage.result.output == '[[1,1,"count"],[0,"a","word"]]'
    story = play(hears, signals=[(word, "a"), (word, "b"), (count, 1)], seed=3)
    story.is_replayed_from_everywhere()


def test_a_time_limit_on_signals_and_what_does_not_fit() -> None:
    stage = Stage(hears)
    stage.go()
    stage.fire("timer#1")
    assert stage.result.failure is not None
    assert stage.result.failure.type == "builtins:TimeoutError"
    assert not stage.instance.waits_for_signal
    stage = Stage(hears)
    stage.go()
    stage.record(EntryKind.SIGNAL, signal_key("count", 1), output='"many"')
    stage.go()
    assert stage.result.failure is not None
    assert stage.result.failure.type.endswith(":InvalidInput")


@pytest.mark.parametrize("given", [(), (word, word)])
def test_signals_that_cannot_be_told_apart_are_refused(given: tuple[Signal[str], ...]) -> None:
    @Workflow
    async def asks() -> None:
        await first_signal(*given)

    stage = Stage(asks)
    stage.go()
    assert stage.result.failure is not None
    assert "signals of different names" in stage.result.failure.message


def test_a_cancelled_wait_for_signals_takes_none() -> None:
    @Workflow
    async def gives_up() -> str:
        waiting = asyncio.create_task(first_signal(word, count))
        await sleep(1)
        waiting.cancel()
        return await word.wait()

    stage = Stage(gives_up)
    stage.go()
    stage.fire("timer#1")
    stage.send(word, "mine")
    assert stage.result.output == '"mine"'


# ---- fan_out


@Workflow
async def fans(names: list[str], limit: int | None, lenient: bool) -> list[str]:
    if lenient:
        found = await fan_out(fetch, names, limit=limit, return_exceptions=True)
        return [str(one) for one in found]
    return await fan_out(fetch, names, limit=limit)


@pytest.mark.parametrize("limit", [None, 1, 2, 100])
def test_results_come_in_the_order_of_the_items(limit: int | None) -> None:
    for seed in range(4):
        story = play(fans, list("abcde"), limit, False, seed=seed)
        assert story.end is not None
        assert story.end.output == '["<a>","<b>","<c>","<d>","<e>"]'
        assert max(len(step.commands) for step in story.steps) == min(limit or 5, 5)
        story.is_replayed_from_everywhere()


def test_without_a_limit_all_are_handed_over_at_once() -> None:
    stage = Stage(fans, list("abcde"), None, False)
    assert len(stage.go().commands) == 5


def test_the_first_failure_ends_it_and_withdraws_the_rest() -> None:
    stage = Stage(fans, ["a", "unicorn", "b", "c"], 3, False)
    stage.go()
    stage.work("fetch#2")
    assert stage.result.failure is not None
    assert stage.result.failure.type.endswith("OutOfStock")
    assert stage.instance.open_commands() == []
    story = play(fans, ["a", "unicorn", "b", "unicorn"], 2, True)
    assert story.end is not None
    assert story.end.output == '["<a>","unicorn","<b>","unicorn"]'
    story.is_replayed_from_everywhere()


def test_a_cancel_withdraws_what_is_under_way() -> None:
    @Workflow
    async def cleans_up() -> None:
        try:
            await fan_out(fetch, list("abcd"), limit=2)
        except asyncio.CancelledError:
            await fetch("the end")
            raise

    stage = Stage(cleans_up)
    stage.go()
    stage.work("fetch#2")
    stage.cancel()
    assert stage.withdrawn == ["fetch#1", "fetch#3"]
    assert stage.open_keys == ["fetch#4"]


def test_with_keys_items_may_change_their_order() -> None:
    order = ["a", "b", "c"]

    @Workflow
    async def keyed() -> list[str]:
        return await fan_out(fetch, order, key=str.upper)

    stage = Stage(keyed)
    stage.go()
    assert stage.open_keys == ["fetch:A#1", "fetch:B#1", "fetch:C#1"]
    stage.work("fetch:B#1")
    order.reverse()
    stage.move()
    stage.work("fetch:A#1")
    stage.work("fetch:C#1")
    assert stage.result.output == '["<c>","<b>","<a>"]'


def test_ten_thousand_items_need_no_task_each() -> None:
    seen: list[int] = []

    @Workflow
    async def many() -> int:
        fan = asyncio.ensure_future(fan_out(double, range(10_000)))
        await sleep(0)
        seen.append(len(asyncio.all_tasks()))
        return sum(await fan)

    stage = Stage(many)
    commands = stage.go().commands
    assert len(commands) == 10_000
    assert seen == [2]
    for number, command in enumerate(commands):
        stage.record(EntryKind.ACTIVITY, command.key, output=str(number * 2))
    stage.go()
    assert stage.result.output == str(sum(range(10_000)) * 2)


def test_items_are_taken_as_they_are_needed() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(100):
            taken.append(number)
            yield number

    @Workflow
    async def lazy() -> list[int]:
        return await fan_out(double, items(), limit=3)

    stage = Stage(lazy)
    stage.go()
    assert taken == [0, 1, 2]
    stage.work("double#2")
    assert taken == [0, 1, 2, 3]


def test_an_async_function_can_take_the_place_of_the_activity() -> None:
    @Workflow
    async def nested(limit: int | None) -> list[object]:
        async def twice(name: str) -> str:
            return await fetch(await fetch(name))

        found = await fan_out(twice, ["a", "unicorn", "b"], limit=limit, return_exceptions=True)
        return [str(one) for one in found]

    for limit in (None, 1, 2):
        story = play(nested, limit, seed=5)
        assert story.end is not None
        assert story.end.output == '["<<a>>","unicorn","<<b>>"]'
        story.is_replayed_from_everywhere()


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"limit": 0}, "ValueError", "a limit from 1 up"),
        ({"key": str.strip}, "DefinitionError", "a key has 1 to"),
        ({"key": len}, "DefinitionError", "a key has 1 to"),
    ],
)
def test_what_cannot_be_fanned_out_is_refused(options: dict[str, Any], error: str, words: str) -> None:
    @Workflow
    async def wrong() -> list[str]:
        return list(map(str, await cast("Any", fan_out)(fetch, [" "], **options)))

    stage = Stage(wrong)
    stage.go()
    assert stage.result.failure is not None
    assert stage.result.failure.type.endswith(error)
    assert words in stage.result.failure.message


def test_an_item_that_does_not_fit_is_refused_before_anything_is_begun() -> None:
    items: list[Any] = ["a", 5]

    @Workflow
    async def wrong() -> list[str]:
        return await fan_out(fetch, items)

    stage = Stage(wrong)
    assert stage.go().commands == ()
    assert stage.result.failure is not None
    assert stage.result.failure.type.endswith(InvalidInput.__name__)


async def test_outside_of_a_workflow_a_fan_out_calls_the_functions() -> None:
    assert await fan_out(double, [1, 2, 3], limit=2) == [2, 4, 6]
    assert await fan_out(fetch, []) == []
    with pytest.raises(OutOfStock):
        await fan_out(fetch, ["a", "unicorn"])
    with pytest.raises(TypeError, match="key= for activities only"):
        await fan_out(fetch.fn, ["a"], key=str)
    with pytest.raises(ValueError, match="from 1 up"):
        await fan_out(fetch, ["a"], limit=-1)
    assert issubclass(DefinitionError, Exception)


# ---- wait_until


@Workflow
async def gathers_votes(timeout: int | None) -> list[str]:
    votes: list[str] = []

    async def listen() -> None:
        while True:
            votes.append(await word.wait())

    listening = asyncio.create_task(listen())
    await wait_until(lambda: len(votes) >= 2, timeout=None if timeout is None else timedelta(seconds=timeout))
    listening.cancel()
    return votes


def test_it_goes_on_at_the_moment_at_which_the_predicate_is_true() -> None:
    stage = Stage(gathers_votes, None)
    for vote in "abc":
        stage.post(word, vote)
    stage.go()
    # The third one was there as well, and is not taken.
    assert stage.result.output == '["a","b"]'
    story = play(gathers_votes, 500, signals=[(word, "a"), (word, "b"), (word, "c")])
    story.is_replayed_from_everywhere()


def test_its_time_limit() -> None:
    stage = Stage(gathers_votes, 5)
    stage.go()
    stage.send(word, "a")
    stage.fire("timer#1")
    assert stage.result.failure is not None
    assert stage.result.failure.type == "builtins:TimeoutError"
    assert "wait_until()" in stage.result.failure.message


def test_several_who_wait_are_woken_one_after_the_other() -> None:
    @Workflow
    async def shares() -> list[str]:
        stock = 0
        log: list[str] = []

        async def take(name: str) -> None:
            nonlocal stock
            await wait_until(lambda: stock > 0)
            stock -= 1
            log.append(f"{name} {stock}")

        def used_up() -> bool:
            return stock == 0 or len(log) == 3

        takers = [asyncio.create_task(take(name)) for name in "abc"]
        while len(log) < 3:
            stock += await count.wait()
            await wait_until(used_up)
        await asyncio.gather(*takers)
        return log

    stage = Stage(shares)
    stage.go()
    stage.send(count, 1)
    assert stage.last.end is None
    stage.send(count, 2)
    assert stage.result.output == '["a 0","b 1","c 0"]'


def test_what_the_predicate_raises_is_raised_where_it_is_waited_for() -> None:
    @Workflow
    async def stumbles() -> str:
        seen: dict[str, int] = {}
        listening = asyncio.create_task(word.wait())
        try:
            await wait_until(lambda: listening.done() and seen["nothing"])
        except KeyError as error:
            return f"no {error}"
        return "?"

    stage = Stage(stumbles)
    stage.go()
    stage.send(word, "x")
    assert stage.result.output == "\"no 'nothing'\""


def test_what_cannot_be_asked_is_refused() -> None:
    async def later() -> bool:
        return True

    predicates: list[Any] = [later, True]

    @Workflow
    async def asks(number: int) -> None:
        await wait_until(predicates[number])

    for number in range(2):
        stage = Stage(asks, number)
        stage.go()
        assert stage.result.failure is not None
        assert "a function that is not async" in stage.result.failure.message


def test_a_loop_around_what_is_true_already_gives_its_worker_back() -> None:
    @Workflow
    async def spins() -> None:
        while True:
            await wait_until(lambda: True)

    assert "rounds without waiting" in str(Stage(spins).blocked())


# ---- all of it at once


@Workflow
async def mixed(plan: list[Any]) -> list[str]:  # noqa: C901 - one construct per case
    done: list[str] = []
    heard: list[str] = []

    async def listen() -> None:
        while True:
            heard.append(await word.wait())

    listening = asyncio.create_task(listen())

    async def follow(name: str, node: list[Any]) -> str:
        kind, *children = node
        inner = [follow(f"{name}.{i}", child) for i, child in enumerate(children)]
        try:
            match kind:
                case "race":
                    won = await first_of(*inner, fetch(f"{name} {len(done)}"), sleep(len(done) + 3))
                    done.append(f"{name} {won.which}")
                case "fan":
                    found = await fan_out(double, range(len(done), len(done) + 4), limit=2)
                    done.append(f"{name} {sum(found)}")
                    for one in inner:
                        await one
                case "until":
                    wanted = len(heard) + 1
                    await wait_until(lambda: len(heard) >= wanted, timeout=timedelta(seconds=20))
                    await asyncio.gather(*inner)
                case "signal":
                    got = await first_signal(count, word, timeout=timedelta(seconds=9))
                    done.append(f"{name} {got.signal.name} {got.value}")
                    await asyncio.gather(*inner)
                case _:
                    async with shield():
                        for one in inner:
                            await one
                        done.append(await fetch(f"{name} {len(done)}"))
        except TimeoutError:
            done.append(f"{name} late")
        except asyncio.CancelledError:
            await shield(fetch(f"{name} cancelled {len(done)}"))
            raise
        finally:
            for one in inner:
                if inspect.getcoroutinestate(one) == inspect.CORO_CREATED:
                    one.close()
        return name

    await follow("root", plan)
    listening.cancel()
    return [*done, *heard]


kinds = st.sampled_from(["race", "fan", "until", "signal", "shield"])


def _node(kind: str, children: list[Any]) -> list[Any]:
    return [kind, *children]


def _nodes(children: st.SearchStrategy[list[Any]]) -> st.SearchStrategy[list[Any]]:
    return st.builds(_node, kinds, st.lists(children, max_size=3))


leaves: st.SearchStrategy[list[Any]] = st.builds(_node, kinds, st.just([]))
plans: st.SearchStrategy[list[Any]] = st.recursive(leaves, _nodes, max_leaves=6)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(plan=plans, seed=st.integers(0, 2**32), cancels=st.integers(0, 2))
def test_every_interleaving_is_replayed_from_everywhere(plan: list[Any], seed: int, cancels: int) -> None:
    signals: list[tuple[Signal[Any], object]] = [(word, f"w{i}") if i % 3 else (count, i) for i in range(20)]
    story = play(mixed, plan, seed=seed, signals=signals, cancels=cancels)
    story.is_replayed_from_everywhere()
