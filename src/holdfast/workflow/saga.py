"""Compensation: what was done is undone in reverse order when what follows fails or is cancelled.

An undo is an ordinary step of the run, with a key in its journal and its own retries. So undoing that a crash has
interrupted goes on where it was: the replay raises what was raised, comes to the same undos, and finds the outcomes of
those that are done.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import ContextVar, Token
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, ParamSpec, Self

from holdfast.core.definition import Definition
from holdfast.core.errors import CompensationFailed, HoldfastError
from holdfast.core.failure import Failure
from holdfast.core.journal import Entry
from holdfast.workflow.continue_as_new import Continued
from holdfast.workflow.current import workflow_loop
from holdfast.workflow.loop import WorkflowLoop
from holdfast.workflow.shield import Shield
from holdfast.workflow.step import Step

if TYPE_CHECKING:
    from holdfast.workflow.activity import Activity

P = ParamSpec("P")


class Undone(NamedTuple):
    """What came of one undo: ``error`` is why it failed for good, or None."""

    name: str
    error: Exception | None


class Compensation(NamedTuple):
    """What undoes an activity, and whether also where nobody knows if it has happened."""

    undo: Activity[..., Any]
    even_if_unknown: bool

    def mind(self, loop: WorkflowLoop, step: Step, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """If this call is part of a saga, the saga undoes it when it has to."""
        saga = _saga.get()
        while saga is not None and saga.over:
            saga = saga.outer
        if saga is not None:
            saga.mind(_Minded(self, step, args, kwargs, asked_in=loop.delivery.turns))


class _Undo(NamedTuple):
    """One undo that is to be done if the saga fails."""

    call: Callable[..., Awaitable[object]]
    args: Sequence[Any]
    kwargs: Mapping[str, Any]

    @property
    def name(self) -> str:
        return str(getattr(self.call, "name", None) or getattr(self.call, "__qualname__", repr(self.call)))


class _Minded(NamedTuple):
    """A call that is undone by itself, while it is under way."""

    compensation: Compensation
    step: Step
    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    asked_in: int
    """How much had been delivered when it was asked for."""

    def undo(self, result: object) -> _Undo:
        return _Undo(self.compensation.undo, (result, *self.args), self.kwargs)


_saga: ContextVar[Saga | None] = ContextVar("holdfast_saga", default=None)


class Saga:
    """What ``async with saga() as undo:`` gives: takes note of what is to be undone if the block fails."""

    __slots__ = ("_loop", "_lost", "_token", "_under_way", "_undos", "outcomes", "outer", "over")

    def __init__(self) -> None:
        self.outcomes: tuple[Undone, ...] = ()
        """What came of each undo, in the order in which they were done."""
        self.outer: Saga | None = None
        """The saga that this one is part of."""
        self.over = True
        """Whether the block is not entered yet, or all is done that was to be done."""
        self._undos: list[_Undo] = []
        self._under_way: dict[str, _Minded] = {}
        self._lost: dict[str, _Minded] = {}  # cancelled under way, without an outcome so far
        self._loop: WorkflowLoop | None = None
        self._token: Token[Saga | None] | None = None

    def add(self, undo: Callable[P, Awaitable[object]], /, *args: P.args, **kwargs: P.kwargs) -> None:
        """If the block fails or is cancelled, ``undo(*args, **kwargs)`` is called, before what was added earlier.

        ``undo`` is an activity, also one with ``options()``, a workflow, or any async function of the workflow's own.
        Add it after what it undoes; before it, if it does no harm where nothing has happened.

        Raises:
            InvalidInput: the arguments do not fit the activity or workflow.
            RuntimeError: the block has ended, or was not entered.
        """
        if self.over:
            raise RuntimeError("this saga is not open: add what is to be undone inside of its block")
        definition: object = undo
        if isinstance(definition, Definition):
            known: Definition[..., Any] = definition  # pyright: ignore[reportUnknownVariableType]
            known.parameters.encode(args, kwargs)  # so that it is not found out when it is needed
        self._undos.append(_Undo(undo, args, kwargs))

    async def __aenter__(self) -> Self:
        if self._loop is not None:
            raise RuntimeError("a saga() is for one block: call it anew for each")
        self._loop = workflow_loop("saga()", "undo what was done where you catch the error")
        self.outer = _saga.get()
        self._token = _saga.set(self)
        self.over = False
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        loop = self._loop
        assert loop is not None
        assert self._token is not None
        _saga.reset(self._token)
        if loop.dropped:
            return  # it goes on elsewhere
        try:
            if error is None or isinstance(error, Continued):
                self._hand_over()
                return
            await self._come_to_rest(error)
            async with Shield(comes_in=False):
                await self._find_out(loop)
                await self._undo_all(loop)
        finally:
            self.over = True
        failed = [one.error for one in self.outcomes if one.error is not None]
        if failed:
            raise CompensationFailed(
                _in_words(self.outcomes, error), failed, undone=[one.name for one in self.outcomes if one.error is None]
            ) from error

    # ---- calls that are undone by themselves

    def mind(self, call: _Minded) -> None:
        """Takes note of a call that was asked for."""
        self._under_way[call.step.key] = call
        call.step.future.add_done_callback(partial(self._ended, call))

    def take(self, undos: Sequence[_Undo]) -> None:
        """What these would undo has been done in this saga."""
        self._undos += undos

    def _ended(self, call: _Minded, outcome: asyncio.Future[Any]) -> None:
        """Before whoever waits for the call goes on."""
        loop, key = self._loop, call.step.key
        assert loop is not None
        self._under_way.pop(key, None)
        if loop.dropped:
            return
        if not outcome.cancelled():
            if outcome.exception() is None:
                self._keep(call.undo(outcome.result()))
        elif loop.delivery.turns > call.asked_in:
            # It may have been begun. Its outcome may be on its way into the journal, and comes here then.
            self._lost[key] = call
            loop.delivery.hear_late(key, partial(self._heard_late, call))

    def _heard_late(self, call: _Minded, entry: Entry) -> None:
        if entry.error is not None and Failure.from_json(entry.error).reason == "cancelled":
            # One that was dispatched, and was ended where it ran: nobody knows how far it had come.
            return
        if self._lost.pop(call.step.key, None) is None or entry.error is not None:
            return
        try:
            result = call.step.activity.returns.decode(entry.output)
        except HoldfastError:
            self._lost[call.step.key] = call
        else:
            self._keep(call.undo(result))

    def _keep(self, undo: _Undo) -> None:
        saga: Saga | None = self
        while saga is not None and saga.over:
            saga = saga.outer
        if saga is not None:
            saga.take([undo])

    # ---- the end of the block

    def _hand_over(self) -> None:
        """All went well: if it is part of another saga, that one undoes it all the same when it fails later."""
        if self.outer is not None and not self.outer.over:
            self.outer.take(self._undos)
        self._undos.clear()

    async def _come_to_rest(self, error: BaseException) -> None:
        """Waits for the calls that are under way still; where the block was cancelled they are too."""
        cancelled = isinstance(error, asyncio.CancelledError)
        open_calls = [] if cancelled else [call.step.future for call in self._under_way.values()]
        try:
            await asyncio.sleep(0)  # a cancel that came just before comes in here
            if open_calls:
                await asyncio.wait(open_calls)
        except asyncio.CancelledError:
            # As in a task group: where there is an error already, a cancel only hurries things up.
            pass
        for call in list(self._under_way.values()):
            call.step.future.cancel()

    async def _find_out(self, loop: WorkflowLoop) -> None:
        """What became of calls that were cancelled under way, as far as anybody will ever know."""
        await asyncio.sleep(0)  # what was cancelled just now
        if self._lost:
            # Whatever outcome was on its way stands in the journal before this timer.
            passed = loop.create_future()
            timer = loop.set_timer(loop.delivery.at, passed.set_result, None)
            try:
                await passed
            finally:
                timer.cancel()
        lost, self._lost = self._lost, {}
        for call in lost.values():
            if call.compensation.even_if_unknown:
                self._undos.append(call.undo(None))

    async def _undo_all(self, loop: WorkflowLoop) -> None:
        token = _saga.set(None)  # an undo is not undone
        try:
            while self._undos:
                undo = self._undos.pop()
                self.outcomes += (Undone(undo.name, await _done(undo, loop)),)
        finally:
            _saga.reset(token)


def saga() -> Saga:
    """A block whose effects are undone, in reverse order, if it fails or is cancelled.

    Undone, in ``async with saga() as undo: ...``, is what was added by ``undo.add(refund, payment)``, and each
    activity that was called in the block, has succeeded and has declared its undo by ``@charge.compensate``. No cancel
    interrupts the undoing; each undo has its own retries, and one that fails for good does not keep the others from
    being done. Then the error of the block goes on its way; if undos have failed, ``CompensationFailed`` takes its
    place, with that error as its cause.

    When the block succeeds nothing is undone; inside of another saga, that one undoes it if it fails later.

    Raises:
        CompensationFailed: undos have failed.
        RuntimeError: it is not workflow code that asks.
    """
    return Saga()


async def _done(undo: _Undo, loop: WorkflowLoop) -> Exception | None:
    try:
        await undo.call(*undo.args, **undo.kwargs)
    except Exception as error:
        return error
    except asyncio.CancelledError:
        if loop.dropped:
            raise
        return RuntimeError(f"{undo.name} has cancelled itself")
    return None


def _in_words(outcomes: Sequence[Undone], error: BaseException) -> str:
    failed = [one.name for one in outcomes if one.error is not None]
    return (
        f"{len(failed)} of {len(outcomes)} undos failed ({', '.join(failed)}) "
        f"after {type(error).__name__}{f': {error}' if str(error) else ''}"
    )
