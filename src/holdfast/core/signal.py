"""What a client has to know of a signal or update that it sends, or of a state that it reads."""

from __future__ import annotations

from typing import Protocol, TypeVar

from holdfast.core.returns import Returns

T = TypeVar("T")
U = TypeVar("U")


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


class UpdateType(Protocol[T, U]):
    """A name, and how what is sent and what is answered are written and read."""

    @property
    def name(self) -> str:
        """What the workflow waits for."""
        ...

    @property
    def takes(self) -> Returns[T]:
        """How what is sent becomes JSON text, and comes back from it."""
        ...

    @property
    def gives(self) -> Returns[U]:
        """How the answer becomes JSON text, and comes back from it."""
        ...

    def check(self, value: T) -> None:
        """Raises what the validator raises, if there is one."""
        ...
