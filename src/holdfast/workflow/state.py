"""State: what a run lets everybody know while it goes on."""

from __future__ import annotations

from typing import Any, Generic, TypeVar, final, get_args

from holdfast.core.errors import DefinitionError, InvalidInput, Unstorable
from holdfast.core.returns import Returns
from holdfast.workflow.current import workflow_loop

T = TypeVar("T")

LARGEST_STATE = 16_384
"""Bytes that the value of a state may have, as JSON."""

_PLAIN: Returns[Any] = Returns(Any, what="the value of a state", misfit=InvalidInput)


@final
class State(Generic[T]):
    """A state by name, with the type of its value: ``progress = State[Progress]("progress")``.

    The workflow sets it, ``progress.set(...)``, and any client reads it, ``await run.state(progress)``. Without a type
    it is plain JSON.

    Raises:
        DefinitionError: the name cannot be used.
    """

    __orig_class__: Any

    def __init__(self, name: str) -> None:
        self.name = _checked(name)
        self._returns: Returns[T] | None = None

    @property
    def returns(self) -> Returns[T]:
        """How its values are written and read."""
        # As in Signal: the type is known only after `__init__`.
        if self._returns is None:
            carried = get_args(getattr(self, "__orig_class__", None))
            annotation: object = carried[0] if carried else Any
            self._returns = Returns(annotation, what=f"the value of state {self.name!r}", misfit=InvalidInput)
        return self._returns

    def set(self, value: T) -> None:
        """Sets it: see ``set_state``.

        Raises:
            InvalidInput: the value does not fit the type.
            Unstorable: it cannot be stored, or is too large.
        """
        _set(f"state {self.name!r}.set()", self.name, self.returns, value)

    def __repr__(self) -> str:
        return f"<state {self.name!r}>"


def set_state(key: str, value: object) -> None:
    """Lets everybody know: any client reads the newest value, ``await run.state(key)``, also after the run has ended.

    It is written with what the run writes next, and holds nothing up; of several changes before that the last one
    counts, and a replay writes none again. The value is plain JSON; for one with a type, and a reader that knows it,
    see ``State``.

    Raises:
        DefinitionError: the key cannot be used.
        Unstorable: the value cannot be stored, or is larger than 16 KiB.
        RuntimeError: it is not workflow code that asks.
    """
    _set("set_state()", _checked(key), _PLAIN, value)


def _set(what: str, name: str, returns: Returns[Any], value: object) -> None:
    loop = workflow_loop(what, "activities give what they know as their results")
    text, _ = returns.encode(value)
    # A limit of its own, and always the same: what a replay does must not depend on settings.
    if len(text) * 4 > LARGEST_STATE and (size := len(text.encode())) > LARGEST_STATE:
        raise Unstorable(
            f"the value of state {name!r} is {size:,} bytes, and at most {LARGEST_STATE:,} are; "
            "store it elsewhere and let the state say where"
        )
    if not loop.dropped:
        delivery = loop.delivery
        delivery.notebook().set_state(name, text, delivery.turns, replaying=delivery.replaying)


def _checked(name: object) -> str:
    if isinstance(name, str) and 0 < len(name) <= 200 and name == name.strip() and _is_plain(name):
        return name
    raise DefinitionError(
        f"the key {name!r} for a state is not 1 to 200 characters, begins or ends with a space, or contains '#' or a "
        "character that cannot be printed"
    )


def _is_plain(name: str) -> bool:
    return name.isprintable() and "#" not in name
