"""Fakes: what a worker under test calls in the place of an activity."""

from __future__ import annotations

import asyncio
import copy
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, ParamSpec, TypeVar, cast
from uuid import UUID

from holdfast.core.errors import DefinitionError, InvalidInput
from holdfast.workflow.activity import Activity
from holdfast.workflow.attempted import activity_info

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, slots=True, kw_only=True)
class FakeCall:
    """One attempt that was made at an activity with a fake."""

    arguments: Mapping[str, object]
    """What it was called with, by the names of the parameters; defaults that were not passed are left out."""
    run_id: UUID
    key: str
    """``charge#1``"""
    attempt: int
    """From 1."""


class Fake(Generic[P, R]):
    """Stands in for an activity wherever a worker of the environment would execute it; made by :meth:`Env.fake`.

    Retries, timeouts and recording are those of the activity; only its code is not called.
    """

    def __init__(
        self,
        activity: Activity[P, R],
        *,
        returning: R | None,
        raising: BaseException | type[BaseException] | None,
        side_effect: Callable[P, object] | None,
        hangs: bool,
    ) -> None:
        self.activity = activity
        self.hangs = hangs
        """Whether it never returns: its timeout, and those around it, pass when the clock is moved."""
        self.calls: list[FakeCall] = []
        """Every attempt so far, in order."""
        self._returning = returning
        self._raising = raising
        self._side_effect = side_effect
        self._signature = activity.signature
        if sum((raising is not None, side_effect is not None, hangs)) > 1:
            raise InvalidInput(f"the fake of {activity.what} takes one of returning=, raising=, side_effect=, hangs=")
        if raising is not None:
            _check_error(activity, raising)
        elif side_effect is not None:
            _check_signature(activity, side_effect)
        elif not hangs:
            # So that a value that the activity could never have given is refused here, and not in the run.
            activity.returns.encode(cast("R", returning))

    def in_place_of(self, activity: Activity[..., Any]) -> Activity[..., Any]:
        """The activity, with the options of this call, and the fake as its code."""
        double = copy.copy(activity)
        double.fn = self._play
        double.is_async = True
        double.isolation = None
        double.heartbeat_timeout = None
        double.transactional = None
        return double

    async def _play(self, *args: Any, **kwargs: Any) -> object:
        info = activity_info()
        arguments = self._signature.bind(*args, **kwargs).arguments
        self.calls.append(FakeCall(arguments=arguments, run_id=info.run_id, key=info.key, attempt=info.attempt))
        if self.hangs:
            await asyncio.get_running_loop().create_future()
        if self._raising is not None:
            raise self._raising
        if self._side_effect is None:
            return self._returning
        outcome = cast("Any", self._side_effect)(*args, **kwargs)
        return await outcome if inspect.isawaitable(outcome) else outcome

    def __repr__(self) -> str:
        return f"<fake of {self.activity.what}, {len(self.calls)} calls>"


def _check_error(activity: Activity[..., Any], raising: object) -> None:
    kind = raising if isinstance(raising, type) else type(raising)
    if not issubclass(kind, Exception):
        raise InvalidInput(f"the fake of {activity.what} cannot raise {raising!r}: use an exception, or a class of one")


def _check_signature(activity: Activity[..., Any], side_effect: Callable[..., object]) -> None:
    """Whether it can be called as the activity is, in every way."""
    try:
        theirs = inspect.signature(side_effect)
    except (TypeError, ValueError) as error:
        raise DefinitionError(f"the fake of {activity.what} cannot be called: {side_effect!r} ({error})") from error
    parameters = activity.signature.parameters
    required = [p for p in parameters.values() if p.default is p.empty]
    kinds = inspect.Parameter
    by_position = [None for p in parameters.values() if p.kind is not kinds.KEYWORD_ONLY]
    by_name = {p.name: None for p in parameters.values() if p.kind is kinds.KEYWORD_ONLY}
    attempts: list[tuple[list[None], dict[str, None]]] = [(by_position, by_name)]
    attempts.append(
        (
            [None for p in required if p.kind is kinds.POSITIONAL_ONLY],
            {p.name: None for p in required if p.kind is not kinds.POSITIONAL_ONLY},
        )
    )
    for args, kwargs in attempts:
        try:
            theirs.bind(*args, **kwargs)
        except TypeError as error:
            raise DefinitionError(
                f"the side_effect for {activity.what} cannot be called as the activity is, with "
                f"{activity.signature}: {error}"
            ) from error
