"""The event loop that workflow code runs on: deterministic, without a clock and without the outside world.

What it does depends on the code and on what is delivered to it, and on nothing else. It runs in turns, inside a
callback of the worker's own loop: see :meth:`WorkflowLoop.turn`.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextvars import Context, copy_context
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from holdfast.core.errors import ForbiddenInWorkflow
from holdfast.workflow.audit import watch
from holdfast.workflow.completion import in_order
from holdfast.workflow.cpython import running_loop, set_running_loop
from holdfast.workflow.delivery import Delivery
from holdfast.workflow.drop import Nothing, drop_task, silence
from holdfast.workflow.forbidden import Forbidding
from holdfast.workflow.handle import Handle, Timer
from holdfast.workflow.info import RunInfo
from holdfast.workflow.instant import deadline_at, later, seconds_of
from holdfast.workflow.shift import Shift, is_working
from holdfast.workflow.task import WorkflowTask

if TYPE_CHECKING:
    from holdfast.workflow.condition import Condition
    from holdfast.workflow.workflow import Workflow

T = TypeVar("T")

_log = logging.getLogger("holdfast.workflow")

_PATIENCE = 100_000
"""How many callbacks may run without anything being waited for; more where there are many tasks."""
_PATIENCE_PER_TASK = 10
_MOST_PATIENCE = 1_000_000

_WORD = (1 << 60) - 1


class WorkflowLoop(Forbidding):
    """The loop of one run. ``delivery`` holds what the run asks for."""

    __slots__ = (
        "_all_tasks",
        "_earlier",
        "_made",
        "_order",
        "_purge_at",
        "_ready",
        "_running",
        "_seconds",
        "_seconds_at",
        "_tasks_in_order",
        "chance",
        "conditions",
        "delivery",
        "dropped",
        "info",
        "worker",
        "workflow",
    )

    guards = True
    """While it is the running loop, the guard of :mod:`holdfast.workflow.audit` acts."""

    def __init__(self, info: RunInfo, delivery: Delivery, earlier: Sequence[tuple[RunInfo, int]] = ()) -> None:
        self.info = info
        self._earlier = list(earlier)
        self.delivery = delivery
        self.workflow: Workflow[..., Any] | None = None
        """The one that is executed, where that is known."""
        self.worker: str | None = None
        """The name of the one that executes it: for its log lines."""
        self.dropped = False
        """Whether the run has left this loop: nothing that its code still does has an effect."""
        self.chance: Any = None
        """The run's streams of random numbers, once it has asked for one."""
        self.conditions: list[Condition] = []
        """What the code waits for to be true."""
        self._ready: deque[Handle | Timer] = deque()
        self._running = False
        self._seconds_at: datetime | None = None
        self._seconds = 0.0
        self._order = (earlier[0][0] if earlier else info).run_id.int & _WORD
        self._made = 0
        self._all_tasks: list[WorkflowTask[Any]] = []  # those that are not done, and some that are
        self._purge_at = 64
        self._tasks_in_order: dict[int, WorkflowTask[Any]] = {}
        watch()

    @property
    def known_as(self) -> RunInfo:
        """The run as its code knows it now: another one as long as entries are to come that it has recorded."""
        earlier = self._earlier
        while earlier and self.delivery.front >= earlier[0][1]:
            del earlier[0]
        return earlier[0][0] if earlier else self.info

    # ---- what the instance does with it ----

    def turn(self, step: Callable[[], None]) -> None:
        """Calls ``step`` with this loop as the running one, and puts everything back as it was.

        To be called from a callback of another loop or without one, not from inside a task.
        """
        if not is_working():
            with Shift():
                self.turn(step)
            return
        outer = running_loop()
        set_running_loop(self)
        self._running = True
        try:
            step()
        finally:
            self._running = False
            set_running_loop(outer)

    def run_until_quiet(self) -> None:
        """Calls what is ready until nothing is, or the run is blocked. Only in a turn."""
        ready, delivery = self._ready, self.delivery
        called = 0
        while (ready or (self.conditions and self._come_true())) and delivery.blocked is None:
            called += 1
            if called > _PATIENCE and called > min(_PATIENCE_PER_TASK * len(self._all_tasks), _MOST_PATIENCE):
                delivery.blocked = ForbiddenInWorkflow(
                    f"workflow {self.info.name!r} has gone {called - 1:,} rounds without waiting for an activity, a "
                    "timer or a signal, so it would never give its worker back: look for a loop around "
                    "asyncio.sleep(0), or around a queue that is never empty"
                )
                return
            try:
                ready.popleft()()
            except (SystemExit, KeyboardInterrupt):
                continue  # they end the task that they come from, and no more
            except BaseException as error:
                self.call_exception_handler({"message": "a callback of the workflow failed", "exception": error})

    def _come_true(self) -> bool:
        """Whether anything is ready because what it waits for is true.

        One at a time: it still is when its turn comes.
        """
        for condition in tuple(self.conditions):
            if condition.look():
                self.conditions.remove(condition)
                if self._ready:
                    return True
        return False

    def report(self) -> None:
        """Lets go of the tasks that are done: those that failed, while nobody looked, say so in the log."""
        self._all_tasks = [task for task in self._all_tasks if not task.done()]

    def drop(self) -> None:
        """The run leaves this loop: its coroutines end, without being able to do anything any more."""
        if self.dropped:
            return
        self.dropped = True
        self._ready.clear()
        self.conditions.clear()
        open_tasks = [task for task in self._all_tasks if not task.done()]
        self._all_tasks.clear()
        self._tasks_in_order.clear()
        if open_tasks:
            with silence():
                self.turn(lambda: _drop_all(self, open_tasks))
        self.delivery.clear()

    # ---- what asyncio does with it ----

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return self._running

    def is_closed(self) -> bool:
        return self.dropped

    def time(self) -> float:
        """The run's time: seconds since 1970."""
        at = self.delivery.at
        if at is not self._seconds_at:
            self._seconds_at = at
            self._seconds = seconds_of(at)
        return self._seconds

    def call_soon(  # type: ignore[override] # the stubs tie arguments to the callback; nothing here depends on it
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> Handle:
        handle = Handle(callback, args, copy_context() if context is None else context)
        if not self.dropped:
            self._ready.append(handle)
        return handle

    def call_later(  # type: ignore[override] # as above
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> Timer:
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override] # as above
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> Timer:
        now = self.delivery.at
        durable = not when <= self.time()
        deadline = deadline_at(when, now) if durable else now
        return self._set(deadline, when, callback, args, context, durable=durable)

    def set_timer(self, deadline: datetime, callback: Callable[..., object], *args: Any) -> Timer:
        """A durable timer in any case, also where its time has come already."""
        return self._set(max(deadline, self.delivery.at), seconds_of(deadline), callback, args, None, durable=True)

    def _set(
        self,
        deadline: datetime,
        when: float,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        context: Context | None,
        *,
        durable: bool,
    ) -> Timer:
        ready = self._ready
        timer = Timer(
            deadline=deadline,
            when=when,
            callback=callback,
            args=args,
            context=copy_context() if context is None else context,
            put_in_line=ready.append,
        )
        if self.dropped:
            return timer
        if durable:
            self.delivery.ask_timer(timer)
        else:
            ready.append(timer)
        return timer

    def in_time(self, delay: timedelta) -> datetime:
        """The run's time plus ``delay``."""
        return later(self.delivery.at, delay)

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(
        self,
        coro: Any,
        *,
        name: object = None,
        context: Context | None = None,
        **options: Any,
    ) -> WorkflowTask[Any]:
        if self.dropped:
            coro.close()
            task = WorkflowTask(Nothing(), loop=self, name="dropped", context=Context(), order=0)
            task.forget()
            return task
        if self._tasks_in_order or (waiting := in_order(coro)) is None:
            made = self._tasks_in_order.pop(id(coro), None)
            return made if made is not None else self._make_task(coro, name, context, options)
        for one in waiting:
            self._tasks_in_order[id(one)] = self._make_task(one, None, None, {})
        return self._tasks_in_order.pop(id(coro))

    def _make_task(
        self, coro: Coroutine[Any, Any, T], name: object, context: Context | None, options: dict[str, Any]
    ) -> WorkflowTask[T]:
        self._made += 1
        task = WorkflowTask(
            coro,
            loop=self,
            name=f"Task-{self._made}" if name is None else str(name),
            context=copy_context() if context is None else context,
            order=(self._order + self._made) & _WORD,
            **options,
        )
        tasks = self._all_tasks
        if len(tasks) >= self._purge_at:
            tasks[:] = [task for task in tasks if not task.done()]
            self._purge_at = 2 * len(tasks) + 64
        tasks.append(task)
        return task

    def get_task_factory(self) -> None:
        return None

    def get_exception_handler(self) -> None:
        return None

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        self.call_exception_handler(context)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """An error that nobody will see otherwise is logged; not on replay, and not for a run that has left."""
        if self.dropped or self.delivery.replaying:
            return
        error = context.get("exception")
        _log.warning(
            "run %s of workflow %r: %s",
            self.info.run_id,
            self.info.name,
            context.get("message") or "an error that nobody has seen",
            exc_info=error if isinstance(error, BaseException) else None,
        )

    def close_left_behind(self, generator: AsyncGenerator[Any, Any]) -> None:
        """An async generator was left before its end: closed by a task, as in asyncio, while its run is at work."""
        if self._running and not self.dropped:
            self.create_task(generator.aclose())


def _drop_all(loop: WorkflowLoop, tasks: list[WorkflowTask[Any]]) -> None:
    for task in reversed(tasks):
        drop_task(loop, task)
