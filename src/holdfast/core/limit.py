"""Limits of a workflow or an activity: how many of its runs at once, and how many in a time."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict, cast

from holdfast.core.errors import DefinitionError

if TYPE_CHECKING:
    from holdfast.core.definition import Definition
    from holdfast.core.seal import Seal

RATE = "rate "
"""What the names of rates begin with in the database, and no limit's name does."""

_MOST = 1_000_000
_LONGEST = timedelta(days=366)
_MICROSECOND = timedelta(microseconds=1)
_LONGEST_NAME = 200


@dataclass(frozen=True, slots=True)
class Limit:
    """At most ``most`` runs at once, in all workers together; with ``per``, so many for each key.

    A job counts while a worker holds it: not between two attempts. A workflow counts from its first claim to its end,
    also while it sleeps or waits. An activity that a workflow calls is dispatched, and counts as a job.

    Args:
        most: From 1 up.
        per: The parameter whose value is the key, or a path in it: ``"customer_id"``, ``"order.customer"``. Runs in
            which it is null or missing share the empty key.
        name: Limits of one name are one limit, whoever has them; by default each definition has its own.

    Raises:
        DefinitionError: something of it cannot be used.
    """

    most: int
    per: str | None = None
    name: str | None = None

    def __post_init__(self) -> None:
        _check_count("Limit", "most", self.most)
        _check_text("Limit", "per", self.per)
        _check_text("Limit", "name", self.name)
        if self.name is not None and self.name.startswith(RATE):
            raise DefinitionError(f"Limit: name={self.name!r} begins with {RATE!r}, as rates do; choose another one")


@dataclass(frozen=True, slots=True)
class Rate:
    """At most ``count`` runs begin in each ``per``, evenly spread; up to ``burst`` of them at once after a quiet time.

    In no span of ``per`` do more than ``count + burst - 1`` begin. What counts is each time that a worker takes a job,
    so retries count too; of a workflow, the first time.

    Args:
        count: From 1 up.
        per: The span of time.
        burst: How many may begin at once when nothing has begun for long enough. Default: 1.
        key: The parameter whose value is the key, or a path in it; each key has the rate for itself.
        name: Rates of one name are one rate, whoever has them; by default each definition has its own.

    Raises:
        DefinitionError: something of it cannot be used.
    """

    count: int
    per: timedelta
    burst: int = 1
    key: str | None = None
    name: str | None = None

    def __post_init__(self) -> None:
        _check_count("Rate", "count", self.count)
        _check_count("Rate", "burst", self.burst)
        _check_text("Rate", "key", self.key)
        _check_text("Rate", "name", self.name)
        span = cast("object", self.per)
        if not isinstance(span, timedelta) or not timedelta(0) < span <= _LONGEST:
            raise DefinitionError(
                f"Rate: per= is a duration of more than zero and at most {_LONGEST.days} days, such as "
                f"timedelta(minutes=1), not {span!r}"
            )
        if self.interval * self.burst > _LONGEST:
            raise DefinitionError(f"Rate: a burst of {self.burst} takes {self.interval * self.burst} to come back")

    @property
    def interval(self) -> timedelta:
        """From one that begins to the next, where they come evenly; rounded up, so that the rate is never exceeded."""
        return -(-(self.per // _MICROSECOND) // self.count) * _MICROSECOND


class Ticket(NamedTuple):
    """A limit of a definition as a claim asks for it: ``most`` permits; of a rate, one comes back each ``interval``."""

    name: str
    path: str | None
    default: str | None
    """The key of a run that leaves the parameter out."""
    most: int
    interval: timedelta | None
    order: int
    """Narrow ones first, so that who finds no permit of these takes none of the others from anybody."""


class LimitOptions(TypedDict, total=False):
    """What the decorators take of limits."""

    concurrency: int | Limit | Sequence[Limit] | None
    """A number is a ``Limit`` without a key."""
    rate: Rate | Sequence[Rate] | None


def refuse_unknown(options: LimitOptions) -> None:
    """Refuses options that are none, as Python does.

    Raises:
        TypeError: with the name of one.
    """
    for name in options:
        if name not in LimitOptions.__annotations__:
            raise TypeError(f"got an unexpected keyword argument {name!r}")


def tickets_of(definition: Definition[..., Any], options: LimitOptions) -> tuple[Ticket, ...]:
    """The limits of this definition, from what its decorator was given.

    Raises:
        DefinitionError: one cannot be used; the message says which, and why.
    """
    if not options:
        return ()
    what = definition.what
    concurrency, rate = options.get("concurrency"), options.get("rate")
    limits = [
        one if isinstance(one, Limit) else Limit(cast("int", one))
        for one in _each(what, "concurrency", concurrency, (Limit, int))
    ]
    rates = [cast("Rate", one) for one in _each(what, "rate", rate, (Rate,))]
    found = [
        *(_ticket(definition, one.name, one.per, prefix="", most=one.most, interval=None) for one in limits),
        *(_ticket(definition, one.name, one.key, prefix=RATE, most=one.burst, interval=one.interval) for one in rates),
    ]
    names = [one.name for one in found]
    for name in names:
        if names.count(name) > 1:
            raise DefinitionError(
                f"{what} has two limits of the name {name!r}; give one of them another with name=, or leave one out"
            )
    return tuple(sorted(found, key=lambda one: one.order))


def noted(options: str | None, definition: Definition[..., Any], text: str, seal: Seal) -> str | None:
    """The options of a run as they are stored, with its keys where the database cannot read them in its input."""
    if not definition.tickets or not seal.seals:
        return options
    paths = dict.fromkeys(ticket.path for ticket in definition.tickets if ticket.path is not None)
    if not paths:
        return options
    values: object = json.loads(text)
    keys = {path: key for path in paths if (key := _as_text(values, path.split("."))) is not None}
    fields: dict[str, Any] = {} if options is None else json.loads(options)
    return json.dumps({**fields, "keys": keys}, ensure_ascii=False, separators=(",", ":"))


def _each(what: str, option: str, given: object, kinds: tuple[type, ...]) -> Iterator[object]:
    if given is None:
        return
    several = cast("Iterable[object]", given) if isinstance(given, Sequence) and not isinstance(given, str) else [given]
    for one in several:
        if not isinstance(one, kinds) or isinstance(one, bool):
            example = "Limit(5)" if Limit in kinds else "Rate(100, per=timedelta(minutes=1))"
            raise DefinitionError(f"{what}: {option}= is one such as {example}, or a list of these, not {one!r}")
        yield one


def _ticket(
    definition: Definition[..., Any],
    name: str | None,
    path: str | None,
    *,
    prefix: str,
    most: int,
    interval: timedelta | None,
) -> Ticket:
    default = None
    if path is not None:
        parameter, *rest = path.split(".")
        if parameter not in definition.parameters.names or not all(rest):
            option = "key" if prefix else "per"
            raise DefinitionError(
                f"{definition.what}: {option}={path!r} begins with no parameter of it; its parameters: "
                f"{', '.join(definition.parameters.names) or 'none'}"
            )
        text = definition.parameters.default_text(parameter)
        default = None if text is None else _as_text(json.loads(text), rest)
    own = definition.name if path is None else f"{definition.name}/{path}"
    order = 2 * (interval is not None) + (path is None)
    return Ticket(prefix + (own if name is None else name), path, default, most, interval, order)


def _as_text(value: object, path: Sequence[str]) -> str | None:
    """What Postgres' ``#>>`` gives."""
    for part in path:
        if isinstance(value, Mapping):
            value = cast("Mapping[str, object]", value).get(part)
        elif isinstance(value, list) and part.lstrip("-").isdigit():
            items = cast("list[object]", value)
            value = items[int(part)] if -len(items) <= int(part) < len(items) else None
        else:
            return None
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _check_count(what: str, option: str, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= _MOST:
        raise DefinitionError(f"{what}: {option}= is a whole number from 1 to {_MOST:,}, not {value!r}")


def _check_text(what: str, option: str, value: object) -> None:
    if value is None:
        return
    if not isinstance(value, str) or not 1 <= len(value) <= _LONGEST_NAME or not value.isprintable():
        raise DefinitionError(f"{what}: {option}= is text of 1 to {_LONGEST_NAME} printable characters, not {value!r}")
