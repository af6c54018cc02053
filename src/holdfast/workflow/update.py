"""Updates: typed requests that are sent to a run from outside, and that it answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from inspect import isasyncgenfunction, iscoroutinefunction
from typing import Any, Generic, Never, Self, TypeVar, final, get_args

from holdfast.core.errors import DefinitionError, InvalidInput, UpdateRejected
from holdfast.core.failure import Failure
from holdfast.core.journal import Entry, reply_key
from holdfast.core.remake import type_name
from holdfast.core.returns import Returns
from holdfast.workflow.current import workflow_loop
from holdfast.workflow.loop import WorkflowLoop
from holdfast.workflow.mismatch import other_update
from holdfast.workflow.signal import check_timeout, next_of_line

T = TypeVar("T")
R = TypeVar("R")
V = TypeVar("V", bound=Callable[..., Any])


@final
class Update(Generic[T, R]):
    """An update by name, with the types of what it carries and of its answer.

    ``approve = Update[Decision, Receipt]("approve")``. The workflow takes those that come, ``async for call in
    approve.calls()``, and answers each, ``call.reply(receipt)``; the client waits for that:
    ``receipt = await run.update(approve, decision)``. Without types both are plain JSON.

    Raises:
        DefinitionError: the name cannot be used.
    """

    __orig_class__: Any

    def __init__(self, name: str) -> None:
        if not name or name != name.strip() or not name.isprintable() or "#" in name or len(name) > 200:
            raise DefinitionError(
                f"the name {name!r} for an update is not 1 to 200 characters, begins or ends with a space, or contains "
                "'#' or a character that cannot be printed"
            )
        self.name = name
        self.line = f"update:{name}"
        """Where it stands in line, in a run."""
        self._check: Callable[[T], object] | None = None
        self._takes: Returns[T] | None = None
        self._gives: Returns[R] | None = None

    @property
    def takes(self) -> Returns[T]:
        """How what is sent is written and read."""
        # As in Signal: the types are known only after `__init__`.
        if self._takes is None:
            self._takes = Returns(self._carried(0), what=f"update {self.name!r}", misfit=InvalidInput)
        return self._takes

    @property
    def gives(self) -> Returns[R]:
        """How the answer is written and read."""
        if self._gives is None:
            self._gives = Returns(self._carried(1), what=f"the answer to update {self.name!r}", misfit=InvalidInput)
        return self._gives

    def _carried(self, place: int) -> object:
        carried = get_args(getattr(self, "__orig_class__", None))
        annotation: object = carried[place] if carried else Any
        return annotation

    def validator(self, check: V, /) -> V:
        """Has ``check(value)`` look at each: what it raises refuses the update, ``@approve.validator``.

        An ordinary function without side effects. It is asked by the client before anything is sent, and by the run,
        which others can send to, before the workflow sees the update; it can read nothing of the run.

        Raises:
            DefinitionError: there is one already, or it is not an ordinary function.
        """
        if self._check is not None:
            raise DefinitionError(f"update {self.name!r} has a validator already: one each")
        given: object = check
        if not callable(given) or iscoroutinefunction(check) or isasyncgenfunction(check):
            raise DefinitionError(
                f"the validator of update {self.name!r} is an ordinary function, `def`, that raises what is wrong, "
                f"not {check!r}"
            )
        self._check = check
        return check

    def check(self, value: T) -> None:
        """Raises what the validator raises, if there is one."""
        if self._check is not None:
            self._check(value)

    def calls(self) -> Calls[T, R]:
        """Each update of this name, as it comes, for ever: ``async for call in approve.calls(): ...``."""
        return Calls(self)

    async def wait(self, timeout: timedelta | None = None) -> UpdateCall[T, R]:
        """The next update of this name: those sent before the wait count, each is given once, first in, first out.

        One that does not fit its type, or that the validator refuses, is refused and not given. A wait that is
        cancelled or times out takes nothing.

        Raises:
            TimeoutError: none came within ``timeout``.
            TypeError: ``timeout`` is not a timedelta.
        """
        loop = workflow_loop(f"update {self.name!r}.wait()", "send it with run.update()")
        check_timeout(f"update {self.name!r}.wait()", timeout)
        self.gives  # noqa: B018 - before anything is taken: the types may be of no use
        takes = self.takes
        until = None if timeout is None else loop.in_time(timeout)
        while True:
            left = None if until is None else max(until - loop.delivery.at, timedelta(0))
            entry = await next_of_line(loop, self.line, left)
            key = reply_key(int(entry.key.rpartition("#")[2]))
            answered = loop.delivery.notebook().answered(key)
            if answered is True:
                continue  # refused when it came, whatever the code would say of it now
            try:
                value = takes.decode(entry.output)
                self.check(value)
            except Exception as error:
                if answered is not None or loop.delivery.unasked is not None:
                    await self._block(loop, entry, error)
                loop.delivery.notebook().answer(key, None, Failure.of(error, reason="refused"))
                continue
            loop.delivery.notebook().taken(key)
            return UpdateCall(update=self, input=value, _key=key)

    async def _block(self, loop: WorkflowLoop, entry: Entry, error: Exception) -> Never:
        """The code of before has answered this update, or has gone on from it; the code of now refuses it."""
        loop.delivery.blocked = other_update(self.name, entry, error)
        await loop.create_future()
        raise AssertionError("nobody is there to go on")

    def __repr__(self) -> str:
        return f"<update {self.name!r}>"


class Calls(Generic[T, R]):
    """What ``approve.calls()`` gives: an async iterator over the updates that come."""

    __slots__ = ("_update",)

    def __init__(self, update: Update[T, R]) -> None:
        self._update = update

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> UpdateCall[T, R]:
        return await self._update.wait()


@dataclass(slots=True, kw_only=True, eq=False)
class UpdateCall(Generic[T, R]):
    """One update that has come, with what it carries as ``input``. It is to be answered, now or later, once."""

    update: Update[T, R] = field(repr=False)
    input: T
    _key: str = field(repr=False)
    answered: bool = False
    """Whether it was."""

    def reply(self, value: R) -> None:
        """The answer. It is recorded with what the run writes next, and whoever waits for it sees it after that.

        Raises:
            InvalidInput: the value does not fit the type of the answer; it is not answered then.
            Unstorable: it cannot be stored.
            RuntimeError: it was answered before.
        """
        text, _ = self.update.gives.encode(value)
        self._answer(text, None)

    def reject(self, reason: Exception | str) -> None:
        """Refuses it: whoever waits gets ``UpdateRejected``, with this message, or this error as its cause.

        Raises:
            RuntimeError: it was answered before.
        """
        if isinstance(reason, str):
            failure = Failure(type=type_name(UpdateRejected), message=reason)
        else:
            failure = Failure.of(reason)
        self._answer(None, failure)

    def _answer(self, text: str | None, failure: Failure | None) -> None:
        loop = workflow_loop(f"the answer to update {self.update.name!r}", "the workflow answers")
        if self.answered:
            raise RuntimeError(f"this call of update {self.update.name!r} was answered before: one answer each")
        self.answered = True
        if not loop.dropped:
            loop.delivery.notebook().answer(self._key, text, failure)
