"""What a client has to know of a signal that it sends, or of a state that it reads."""

from __future__ import annotations

from typing import Protocol, TypeVar

from holdfast.core.returns import Returns

T = TypeVar("T")


class SignalType(Protocol[T]):
    """A name, and how the payload is written and read."""

    @property
    def name(self) -> str:
        """What the workflow waits for."""
        ...

    @property
    def returns(self) -> Returns[T]:
        """How its payload becomes JSON text, and comes back from it."""
        ...


class StateType(Protocol[T]):
    """A name, and how the value is written and read."""

    @property
    def name(self) -> str:
        """Under which the workflow sets it."""
        ...

    @property
    def returns(self) -> Returns[T]:
        """How its value becomes JSON text, and comes back from it."""
        ...
