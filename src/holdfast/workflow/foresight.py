"""How many outcomes from elsewhere must come before the code could go on: a parent is not woken for less.

A thousand children, or dispatched activities, in one ``gather`` are one thing to wait for: what 999 of them give
changes nothing that the code could see. That is read from what asyncio keeps: who is told when a task is done. Where
that is not what is known here, one outcome is taken to be enough. It is about success only: a failure wakes the parent
at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from types import CodeType
from typing import Any, NamedTuple, cast

from holdfast.workflow.child import ChildStep
from holdfast.workflow.step import Step

NEVER = (1 << 31) - 1
"""No number of outcomes is enough: something else must come first, or one of the children must fail."""

_PLAIN: set[CodeType] = set()


def is_plain(function: Any) -> None:
    """Says of an async function that a task of it does nothing but give the outcome that it waits for."""
    _PLAIN.add(function.__code__)


def waiting_task() -> asyncio.Task[Any] | None:
    """The task that waits, if that is all that it does."""
    task = asyncio.current_task()
    coroutine = None if task is None else task.get_coro()
    return task if getattr(coroutine, "cr_code", None) in _PLAIN else None


class Collector:
    """What awaits outcomes without a task for each."""

    __slots__ = ()

    def outcomes_wanted(self) -> int | None:
        """How many more, all successes, it collects before anything follows; None where each may lead to something."""
        raise NotImplementedError


def outcomes_needed(steps: Iterable[ChildStep | Step]) -> int:
    """The least number of outcomes, all successes, after which the code may have something to do."""
    mine: dict[int, int] = {}
    wanted: dict[int, int] = {}
    for step in steps:
        waiters = _waiters_of_child(step) if isinstance(step, ChildStep) else _waiters_of_activity(step)
        if waiters is None:
            return 1
        for waiter in waiters:
            for group in _groups_of(waiter):
                if group is None:
                    return 1
                name = id(group.waiter)
                mine[name] = mine.get(name, 0) + 1
                wanted[name] = group.wanted
    # Who waits for something else besides does not go on for these alone.
    return min((count for name, count in wanted.items() if mine[name] == count), default=NEVER)


class _Group(NamedTuple):
    """Who waits for several tasks, and how many of them have not ended."""

    waiter: object
    wanted: int


_Waiter = asyncio.Task[Any] | Collector


def _waiters_of_child(step: ChildStep) -> Sequence[_Waiter] | None:
    """Who does nothing but wait for its outcome; None where that is somebody else, or more than one."""
    tasks = [task for task in step.tasks if not task.done()]
    # One outcome would end several tasks, and what is counted is tasks.
    return tasks if step.only_tasks and len(tasks) <= 1 else None


def _waiters_of_activity(step: Step) -> Sequence[_Waiter] | None:
    """As of a child; only looked for when it is to be known, since most activities are never dispatched."""
    callbacks = list(_callbacks_of(step.future))
    if len(callbacks) != 1:
        return None if callbacks else ()
    ((callback, _),) = callbacks
    owner: Any = getattr(callback, "__self__", None) or getattr(getattr(callback, "func", None), "__self__", None)
    if isinstance(owner, Collector):
        return (owner,)
    if not issubclass(type(owner), asyncio.Task):
        return None
    return (owner,) if getattr(owner.get_coro(), "cr_code", None) in _PLAIN else None


def _groups_of(waiter: _Waiter) -> Iterator[_Group | None]:
    if isinstance(waiter, Collector):
        collected = waiter.outcomes_wanted()
        yield None if collected is None else _Group(waiter, collected)
        return
    for callback, _ in _callbacks_of(waiter):
        yield _group_of(callback)


def _callbacks_of(future: asyncio.Future[Any]) -> Iterable[tuple[Any, Any]]:
    return cast("Any", future)._callbacks or ()  # noqa: SLF001


def _group_of(callback: Any) -> _Group | None:
    """None where one may be enough."""
    owner = getattr(callback, "__self__", None)
    if isinstance(owner, asyncio.TaskGroup) and callback.__func__ is _ON_TASK_DONE:
        kept = cast("Any", owner)
        # While its body runs, it is the body that goes on or waits.
        return _Group(owner, len(kept._tasks) if kept._exiting else _NOT_MINE)  # noqa: SLF001
    code = getattr(callback, "__code__", None)
    if code is not None and code is _GATHERED:
        held = _held_by(callback)
        return _Group(held["outer"], held["nfuts"] - held["nfinished"])
    if code is not None and code is _WAITED:
        held = _held_by(callback)
        return None if held["return_when"] == asyncio.FIRST_COMPLETED else _Group(held["waiter"], held["counter"])
    return None


def _held_by(function: Any) -> dict[str, Any]:
    cells = zip(function.__code__.co_freevars, function.__closure__, strict=True)
    return {name: cell.cell_contents for name, cell in cells}


def _inner(function: Any, name: str) -> CodeType | None:
    """The code of a function inside of another one; None where this Python has none."""
    consts = function.__code__.co_consts
    return next((one for one in consts if isinstance(one, CodeType) and one.co_name == name), None)


_NOT_MINE = -1
_ON_TASK_DONE = vars(asyncio.TaskGroup).get("_on_task_done")
_GATHERED = _inner(asyncio.gather, "_done_callback")
_WAITED = _inner(vars(asyncio.tasks)["_wait"], "_on_completion")
