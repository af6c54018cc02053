"""W3: several concurrent branches of several steps; each replay asks in its own recorded order."""

from __future__ import annotations

import asyncio
import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.core.journal import Entry
from holdfast.workflow.activity import Activity
from holdfast.workflow.chance import random as run_random
from holdfast.workflow.chance import uuid4
from holdfast.workflow.clock import now, sleep
from holdfast.workflow.instance import RunActivity
from holdfast.workflow.signal import Signal
from holdfast.workflow.workflow import Workflow
from tests.workflow.stage import Stage, play

poke = Signal[int]("poke")


@Activity
async def step(branch: str, count: int) -> int:
    return count


@Workflow
async def interleaved(plan: list[Any]) -> list[str]:  # noqa: C901 - one construct per case
    """Does what ``plan`` says, a tree of nested constructs; every branch counts what all of them have done."""
    done = 0
    said: list[str] = []

    async def follow(name: str, node: list[Any]) -> int:  # noqa: C901, PLR0912
        nonlocal done
        word, children = node[0], node[1:]
        inner = [follow(f"{name}.{i}", child) for i, child in enumerate(children)]
        try:
            match word:
                case "steps":
                    for coroutine in inner:
                        # The argument tells in which order everything went: one deviation, and the digest differs.
                        done += await step(name, done)
                        await coroutine
                    done += await step(name, done)
                case "gather":
                    await asyncio.gather(*inner, step(name, done), return_exceptions=True)
                case "first":
                    tasks = [asyncio.create_task(one) for one in [*inner, step(name, done)]]
                    _, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                    for task in pending:
                        task.cancel()
                    await step(name, len(pending))
                case "group":
                    async with asyncio.TaskGroup() as group:
                        for one in inner:
                            group.create_task(one)
                case "timeout":
                    async with asyncio.timeout(7):
                        await sleep(run_random().choice([3, 6, 9]))
                        for one in inner:
                            await one
                case "signal":
                    for one in inner:
                        await asyncio.wait([asyncio.create_task(one), asyncio.create_task(poke.wait())])
                    await poke.wait()
                case _:
                    await sleep(done)
        except TimeoutError:
            await step(f"{name} late {now().timestamp()}", done)
        except asyncio.CancelledError:
            await step(f"{name} cancelled {uuid4()}", done)
            raise
        finally:
            for one in inner:
                one.close()
            said.append(f"{name} {done}")
        return done

    await follow("root", plan)
    return said


words = st.sampled_from(["steps", "gather", "first", "group", "timeout", "signal", "sleep"])


def _node(word: str, children: list[Any]) -> list[Any]:
    return [word, *children]


def _nodes(children: st.SearchStrategy[list[Any]]) -> st.SearchStrategy[list[Any]]:
    return st.builds(_node, words, st.lists(children, max_size=3))


leaves: st.SearchStrategy[list[Any]] = st.builds(_node, words, st.just([]))
plans: st.SearchStrategy[list[Any]] = st.recursive(leaves, _nodes, max_leaves=8)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(plan=plans, seed=st.integers(0, 2**32), cancels=st.integers(0, 2))
def test_every_interleaving_is_replayed_from_everywhere(plan: list[Any], seed: int, cancels: int) -> None:
    story = play(interleaved, plan, seed=seed, signals=[(poke, i) for i in range(30)], cancels=cancels)
    story.is_replayed_from_everywhere()


@Workflow
async def three_branches() -> list[int]:
    async def branch(name: str) -> int:
        count = 0
        for _ in range(4):
            count += await step(name, count)
        return count

    return list(await asyncio.gather(branch("a"), branch("b"), branch("c")))


def _asked(stage: Stage) -> list[tuple[str, str]]:
    return [(c.key, c.input) for c in stage.asked if isinstance(c, RunActivity)]


def test_two_runs_that_interleave_differently_are_replayed_in_their_own_order() -> None:
    orders: set[str] = set()
    for seed in range(6):
        story = play(three_branches, seed=seed)
        orders.add(str(_asked(story.stage)))
        story.is_replayed_from_everywhere()
    assert len(orders) > 1


def test_an_order_that_is_not_the_recorded_one_is_noticed() -> None:
    """The check of this file can fail: with two outcomes exchanged, the code asks for something else."""
    chance = random.Random(1)
    noticed = 0
    for _ in range(10):
        story = play(three_branches, seed=chance)
        journal = story.stage.journal
        first, second = journal[3], journal[4]
        exchanged = [*journal[:3], _at(second, first), _at(first, second), *journal[5:]]
        instance = story.stage.made(exchanged)
        noticed += instance.activate().blocked is not None
        instance.close()
    assert noticed


def _at(entry: Entry, place: Entry) -> Entry:
    return Entry(place.seq, entry.kind, entry.key, place.at, entry.digest, entry.output, entry.error)
