"""The order in which ``asyncio.as_completed`` starts what it is given.

It puts the coroutines into a set first, so it starts them in the order of their addresses in memory: another one on
each replay. The order in which they were given is still to be seen from the loop, in the caller's own variables.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Sequence
from typing import Any, cast

from holdfast.core.errors import ForbiddenInWorkflow
from holdfast.workflow.cpython import frame_at

_TASKS = asyncio.ensure_future.__globals__
_ENTRANCES = {asyncio.ensure_future.__code__}
if "_ensure_future" in _TASKS:
    _ENTRANCES.add(_TASKS["_ensure_future"].__code__)

_GIVEN = {asyncio.as_completed.__code__: "fs"}
if "_AsCompletedIterator" in _TASKS:
    _GIVEN[_TASKS["_AsCompletedIterator"].__init__.__code__] = "aws"


def in_order(coroutine: Coroutine[Any, Any, Any]) -> Sequence[Coroutine[Any, Any, Any]] | None:
    """The coroutines that ``as_completed`` was given with this one, in that order; None if it is not the caller.

    Called from ``create_task`` of the loop.

    Raises:
        ForbiddenInWorkflow: the order cannot be found out.
    """
    caller = frame_at(2)
    if caller.f_code not in _ENTRANCES:
        return None
    # Beyond ensure_future, which may be two functions, and the comprehension, which may be a frame of its own.
    frame, left = caller.f_back, 3
    while frame is not None and left:
        if name := _GIVEN.get(frame.f_code):
            return _ordered(frame.f_locals[name], coroutine)
        frame, left = frame.f_back, left - 1
    return None


def _ordered(given: object, coroutine: Coroutine[Any, Any, Any]) -> Sequence[Coroutine[Any, Any, Any]]:
    coroutines = {id(one): one for one in cast("Iterable[Any]", given) if asyncio.iscoroutine(one)}
    if id(coroutine) in coroutines and not isinstance(given, set | frozenset):
        return list(coroutines.values())
    for one in (coroutine, *coroutines.values()):
        one.close()  # nobody will await it now, and that needs no warning
    raise ForbiddenInWorkflow(
        "asyncio.as_completed() starts coroutines in an order that cannot be replayed unless they come in a list or a "
        "tuple: write as_completed([charge(order) for order in orders])"
    )
