"""How many outcomes of children must come before the code could go on: a parent is not woken for less.

A thousand children in one ``gather`` are one thing to wait for: what 999 of them give changes nothing that the code
could see. That is read from what asyncio keeps: who is told when a task is done. Where it is not what is known here,
one outcome is taken to be enough. It is about success only: a child that fails wakes its parent at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from types import CodeType
from typing import Any, NamedTuple, cast

from holdfast.workflow.child import ChildStep

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


def outcomes_needed(steps: Iterable[ChildStep]) -> int:
    """The least number of outcomes, all successes, after which the code may have something to do."""
    mine: dict[int, int] = {}
    wanted: dict[int, int] = {}
    for step in steps:
        tasks = [task for task in step.tasks if not task.done()]
        if not step.only_tasks or len(tasks) > 1:
            # One outcome would end several tasks, and the count below is one of tasks.
            return 1
        for task in tasks:
            for callback, _ in _callbacks_of(task):
                group = _group_of(callback)
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


def _callbacks_of(task: asyncio.Task[Any]) -> Iterable[tuple[Any, Any]]:
    return cast("Any", task)._callbacks or ()  # noqa: SLF001


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
