"""W11: whatever the code, whenever it is deployed and wherever a worker dies, a run goes one way at each patch."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.core.export import RunExport
from holdfast.core.states import RunKind
from holdfast.workflow.activity import Activity
from holdfast.workflow.clock import sleep
from holdfast.workflow.instance import RunActivity, StartTimer
from holdfast.workflow.patched import patched
from holdfast.workflow.patches import NewWay
from holdfast.workflow.replay import FITS, replay
from holdfast.workflow.signal import Signal
from holdfast.workflow.workflow import Workflow
from tests.workflow.stage import BEGAN, Stage, play

go = Signal[int]("go")

Plan = list[Any]


class Release:
    """Code that follows a plan; before the deploy it goes the old way at every patch, and notes where it has been."""

    def __init__(self) -> None:
        self.deployed = False
        self.been: set[str] = set()
        self.said: dict[str, set[bool]] = {}

    def way(self, name: str) -> bool:
        if not self.deployed:
            self.been.add(name)
            return False
        answer = patched(name)
        self.said.setdefault(name, set()).add(answer)
        return answer

    def workflow(self) -> Workflow[[Plan], list[str]]:
        async def follows(plan: Plan) -> list[str]:
            trace: list[str] = []
            await self._follow("r", plan, trace)
            return trace

        return Workflow(follows, name="follows")

    async def _follow(self, name: str, plan: Plan, trace: list[str]) -> None:
        for place, node in enumerate(plan):
            await self._node(f"{name}.{place}", node, trace)

    async def _node(self, name: str, node: Plan, trace: list[str]) -> None:
        word, parts = node[0], node[1:]
        match word:
            case "step":
                # The argument tells all that went before: one deviation, and the digest differs.
                await note(f"{name} {len(trace)} {trace[-1:]}")
            case "sleep":
                await sleep(timedelta(seconds=len(trace) + 1))
            case "signal":
                await go.wait()
            case "branches":
                await asyncio.gather(*[self._follow(f"{name}{i}", part, trace) for i, part in enumerate(parts)])
            case "loop":
                for turn in range(3):
                    await self._follow(f"{name}/{turn}", parts[0], trace)
            case _:
                patch, old, new = parts
                if self.way(patch):
                    trace.append(f"{name} new")
                    await note(f"new {name} {len(trace)}")
                    await self._follow(f"{name}+", new, trace)
                else:
                    await self._follow(f"{name}-", old, trace)
        trace.append(name)


@Activity
async def note(words: str) -> str:
    return words


class Worker(Stage):
    """A worker that may die between a decision and its row, and that begins nothing beyond a decision."""

    dies = False
    crashed = False
    never_crashes = False
    entered = True
    """What the task says of it, as ``Flag.ENTERED``."""

    def decide(self, way: NewWay) -> None:
        assert self.instance.undecided
        if not self.dies:
            super().decide(way)

    def parks(self) -> None:
        self.entered = self.instance.settled
        self.is_claimed()

    def crashes(self) -> None:
        self.crashed = True
        self.entered = True
        self.is_claimed()

    def is_claimed(self) -> None:
        self.move(resumed=self.entered)

    def hears_while_it_parks(self) -> None:
        """What arrived is durable, and the code has not seen it."""
        self.post(go, 1)
        self.parks()


def is_undecided(stage: Stage) -> bool:
    return stage.instance.undecided


leaves: st.SearchStrategy[Plan] = st.sampled_from([["step"], ["step"], ["sleep"], ["signal"]])


def _node(word: str, parts: Sequence[Any]) -> Plan:
    return [word, *parts]


def _inner(nodes: st.SearchStrategy[Plan]) -> st.SearchStrategy[Plan]:
    some = st.lists(nodes, max_size=3)
    return st.one_of(
        st.builds(_node, st.just("patch"), st.tuples(st.sampled_from(["p", "q"]), some, some)),
        st.builds(_node, st.just("branches"), st.lists(some, min_size=1, max_size=3)),
        st.builds(_node, st.just("loop"), st.tuples(some)),
    )


plans: st.SearchStrategy[list[Plan]] = st.lists(st.recursive(leaves, _inner, max_leaves=6), min_size=1, max_size=4)


@settings(max_examples=250, deadline=None, derandomize=True)
@given(plan=plans, seed=st.integers(0, 2**32), deploy_after=st.integers(0, 8), never_crashes=st.booleans())
def test_whatever_the_code_and_whenever_it_is_deployed_every_replay_goes_the_same_way(
    *, plan: list[Plan], seed: int, deploy_after: int, never_crashes: bool
) -> None:
    release = Release()
    stage = Worker(release.workflow(), plan)
    stage.never_crashes = never_crashes
    lost = lived_through(stage, release, random.Random(seed), deploy_after)
    stage.instance.close()
    for name, said in release.said.items():
        if name in release.been:
            assert said == {False}, f"the run went the old way at {name} before"
        elif not stage.crashed:
            assert said == {True}, f"the run came to {name} live"
        elif name not in lost:
            assert len(said) == 1, f"the run was told this and that of {name}"
    if release.deployed:
        # The whole journal once more, as a check of the code would replay it.
        once_more = stage.made(stage.journal, resumed=True)
        end = once_more.activate().end
        assert end is not None
        assert end.output == stage.result.output
        assert replay(stage.workflow, RunExport.from_json(exported(stage).to_json())) == FITS


def exported(stage: Stage) -> RunExport:
    return RunExport(
        run_id=stage.info.run_id,
        kind=RunKind.WORKFLOW,
        name=stage.info.name,
        lane=stage.info.lane,
        priority=stage.info.priority,
        input=stage.input,
        created_at=BEGAN,
        first_claim_at=BEGAN,
        entered=True,
        journal=stage.journal,
    )


def lived_through(stage: Worker, release: Release, chance: random.Random, deploy_after: int) -> set[str]:
    """Plays the run to its end; the patches of which a decision was lost because its worker died."""
    lost: set[str] = set()
    stage.go()
    for turn in range(300):
        if turn == deploy_after:
            release.deployed = True
            (stage.parks if stage.never_crashes else stage.crashes)()
        if stage.last.end is not None:
            return lost
        assert not is_undecided(stage), "each decision is durable, or its worker has died"
        stage.dies = not stage.never_crashes and chance.random() < 0.2
        chance.choice(what_can_happen(stage))()
        stage.dies = False
        if is_undecided(stage):
            lost |= {way.patch for way in stage.last.patches}
            stage.crashes()
    raise AssertionError("the run does not end")


def what_can_happen(stage: Worker) -> list[Callable[[], object]]:
    events: list[Callable[[], object]] = [stage.parks, stage.hears_while_it_parks]
    if not stage.never_crashes:
        events.append(stage.crashes)
    for command in stage.open:
        if isinstance(command, RunActivity):
            events += [partial(stage.work, command.key)] * 3
        elif isinstance(command, StartTimer) and command.deadline == stage.instance.next_timer:
            events += [partial(stage.fire, command.key)] * 3
    if stage.instance.waits_for_signal:
        events += [partial(stage.send, go, 1)] * 3
    return events


@settings(max_examples=60, deadline=None, derandomize=True)
@given(plan=plans, seed=st.integers(0, 2**32))
def test_a_run_with_patches_is_replayed_from_everywhere(plan: list[Plan], seed: int) -> None:
    release = Release()
    release.deployed = True
    story = play(release.workflow(), plan, seed=seed, signals=[(go, i) for i in range(40)])
    story.is_replayed_from_everywhere()
