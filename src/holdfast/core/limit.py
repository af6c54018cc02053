"""Limits of a workflow or an activity: how many of its runs at once, how many in a time, and which of many starts."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict, cast

from holdfast.core.errors import DefinitionError

if TYPE_CHECKING:
    from holdfast.core.definition import Definition
    from holdfast.core.seal import Seal


class LimitKind(StrEnum):
    """What a limit limits."""

    LIMIT = "limit"
    """How many runs at once."""
    RATE = "rate"
    """How many begin in a time; the others wait."""
    THROTTLE = "throttle"
    """How many are started in a time; the others end at once."""
    DEBOUNCE = "debounce"
    """Of starts that follow each other closely the last one only."""
    FAIR = "fair"
    """Nothing: each key has its turn."""


RATE = "rate "
"""What the names of rates begin with in the database, and no limit's name does."""
THROTTLE = "throttle "
DEBOUNCE = "debounce "
FAIR = "fair "
PREFIXES = ("", RATE, THROTTLE, DEBOUNCE, FAIR)
"""What the names of all kinds begin with in the database."""

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
        if self.name is not None and (kind := kind_of(self.name)[0]) is not LimitKind.LIMIT:
            raise DefinitionError(
                f"Limit: name={self.name!r} begins with '{kind} ', as those of a {kind} do; choose another one"
            )


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
        _check_span("Rate", "per", self.per)
        if self.interval * self.burst > _LONGEST:
            raise DefinitionError(_too_slow("Rate", self.burst, self.interval))

    @property
    def interval(self) -> timedelta:
        """From one that begins to the next, where they come evenly; rounded up, so that the rate is never exceeded."""
        return _interval(self.count, self.per)


@dataclass(frozen=True, slots=True)
class Throttle:
    """At most ``count`` starts in each ``per`` become runs that begin; those beyond end at once as cancelled.

    A :class:`Rate` lets what is too much wait; a throttle drops it. It counts starts by the time for which they were
    started, however late a worker sees them, so nothing is dropped because workers were away. Up to ``burst`` come at
    once after a quiet time, and one place comes back each ``per / count``: in no span of ``per`` more than
    ``count + burst - 1`` are let through. What a workflow calls or starts is not throttled.

    Args:
        count: From 1 up.
        per: The span of time.
        burst: How many may come at once after a quiet time. Default: ``count``.
        key: The parameter whose value is the key, or a path in it; each key has the throttle for itself.
        name: Throttles of one name are one, whoever has them; by default each definition has its own.

    Raises:
        DefinitionError: something of it cannot be used.
    """

    count: int
    per: timedelta
    burst: int | None = None
    key: str | None = None
    name: str | None = None

    def __post_init__(self) -> None:
        _check_count("Throttle", "count", self.count)
        if self.burst is not None:
            _check_count("Throttle", "burst", self.burst)
        _check_text("Throttle", "key", self.key)
        _check_text("Throttle", "name", self.name)
        _check_span("Throttle", "per", self.per)
        if self.interval * self.most > _LONGEST:
            raise DefinitionError(_too_slow("Throttle", self.most, self.interval))

    @property
    def most(self) -> int:
        """How many may come at once."""
        return self.count if self.burst is None else self.burst

    @property
    def interval(self) -> timedelta:
        """After how long a place comes back; rounded up."""
        return _interval(self.count, self.per)


@dataclass(frozen=True, slots=True)
class Debounce:
    """Of starts that follow each other within ``window`` only the last one begins, after it was quiet for that long.

    The others end as cancelled: the start that takes their place has its own input, and a run of its own. What a
    workflow calls or starts is not debounced.

    Args:
        window: For so long no other start must come.
        per: The parameter whose value is the key, or a path in it; each key is debounced by itself.
        at_most: So long after the first of them the last one begins, even if it has not been quiet. Default: never.
        name: Debounces of one name are one, whoever has them; by default each definition has its own.

    Raises:
        DefinitionError: something of it cannot be used.
    """

    window: timedelta
    per: str | None = None
    at_most: timedelta | None = None
    name: str | None = None

    def __post_init__(self) -> None:
        _check_span("Debounce", "window", self.window)
        _check_text("Debounce", "per", self.per)
        _check_text("Debounce", "name", self.name)
        if self.at_most is not None:
            _check_span("Debounce", "at_most", self.at_most)
            if self.at_most < self.window:
                raise DefinitionError(
                    f"Debounce: at_most={self.at_most} is shorter than the window of {self.window}: nothing would ever "
                    "be waited for; make it longer, or leave it out"
                )


def kind_of(name: str) -> tuple[LimitKind, str]:
    """What a name in the database is of, and the name that its users gave it."""
    for prefix, kind in _KINDS.items():
        if name.startswith(prefix):
            return kind, name.removeprefix(prefix)
    return LimitKind.LIMIT, name


_KINDS = {
    RATE: LimitKind.RATE,
    THROTTLE: LimitKind.THROTTLE,
    DEBOUNCE: LimitKind.DEBOUNCE,
    FAIR: LimitKind.FAIR,
}
_ORDER = {LimitKind.THROTTLE: -4, LimitKind.DEBOUNCE: -2, LimitKind.LIMIT: 0, LimitKind.RATE: 2, LimitKind.FAIR: 4}


class Ticket(NamedTuple):
    """A limit of a definition as a claim asks for it: ``most`` permits; of a rate, one comes back each ``interval``.

    Of a debounce the interval is its window.
    """

    name: str
    path: str | None
    default: str | None
    """The key of a run that leaves the parameter out."""
    most: int
    interval: timedelta | None
    order: int
    """Narrow ones first, so that who finds no permit of these takes none of the others from anybody."""
    at_most: timedelta | None = None
    """Of a debounce."""

    @property
    def kind(self) -> LimitKind:
        """What it limits."""
        return kind_of(self.name)[0]


class LimitOptions(TypedDict, total=False):
    """What the decorators take of limits."""

    concurrency: int | Limit | Sequence[Limit] | None
    """A number is a ``Limit`` without a key."""
    rate: Rate | Sequence[Rate] | None
    throttle: Throttle | Sequence[Throttle] | None
    debounce: Debounce | None
    fair: str | None
    """The parameter, or a path in it, by whose values runs take turns where there are more than can begin."""


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
    found: list[Ticket] = []
    for one in _each(what, "concurrency", options.get("concurrency"), (Limit, int)):
        limit = one if isinstance(one, Limit) else Limit(cast("int", one))
        found.append(_ticket(definition, limit.name, limit.per, prefix="", most=limit.most, interval=None))
    for rate in _each(what, "rate", options.get("rate"), (Rate,)):
        assert isinstance(rate, Rate)
        found.append(
            _ticket(definition, rate.name, rate.key, prefix=RATE, most=rate.burst, interval=rate.interval, option="key")
        )
    for one in _each(what, "throttle", options.get("throttle"), (Throttle,)):
        assert isinstance(one, Throttle)
        found.append(
            _ticket(definition, one.name, one.key, prefix=THROTTLE, most=one.most, interval=one.interval, option="key")
        )
    debounce = cast("object", options.get("debounce"))
    if debounce is not None and not isinstance(debounce, Debounce):
        # Of several one could hold what another one has replaced.
        raise DefinitionError(f"{what}: debounce= is one such as {_EXAMPLES[Debounce]}, not {debounce!r}")
    if debounce is not None:
        ticket = _ticket(definition, debounce.name, debounce.per, prefix=DEBOUNCE, most=_MOST, interval=debounce.window)
        found.append(ticket._replace(at_most=debounce.at_most))
    if (fair := options.get("fair")) is not None:
        _check_text(what, "fair", fair)
        found.append(_ticket(definition, None, fair, prefix=FAIR, most=_MOST, interval=None, option="fair"))
    names = [one.name for one in found]
    for name in names:
        if names.count(name) > 1:
            kind, own = kind_of(name)
            raise DefinitionError(
                f"{what} has two {kind}s of the name {own!r}; give one of them another with name=, or leave one out"
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
            raise DefinitionError(
                f"{what}: {option}= is one such as {_EXAMPLES[kinds[0]]}, or a list of these, not {one!r}"
            )
        yield one


def _ticket(
    definition: Definition[..., Any],
    name: str | None,
    path: str | None,
    *,
    prefix: str,
    most: int,
    interval: timedelta | None,
    option: str = "per",
) -> Ticket:
    default = None
    if path is not None:
        parameter, *rest = path.split(".")
        if parameter not in definition.parameters.names or not all(rest):
            raise DefinitionError(
                f"{definition.what}: {option}={path!r} begins with no parameter of it; its parameters: "
                f"{', '.join(definition.parameters.names) or 'none'}"
            )
        text = definition.parameters.default_text(parameter)
        default = None if text is None else _as_text(json.loads(text), rest)
    own = definition.name if path is None else f"{definition.name}/{path}"
    stored = prefix + (own if name is None else name)
    return Ticket(stored, path, default, most, interval, _ORDER[kind_of(stored)[0]] + (path is None))


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


_EXAMPLES: Mapping[type, str] = {
    Limit: "Limit(5)",
    Rate: "Rate(100, per=timedelta(minutes=1))",
    Throttle: "Throttle(10, per=timedelta(minutes=1))",
    Debounce: "Debounce(timedelta(seconds=5))",
}


def _interval(count: int, per: timedelta) -> timedelta:
    return -(-(per // _MICROSECOND) // count) * _MICROSECOND


def _too_slow(what: str, burst: int, interval: timedelta) -> str:
    return (
        f"{what}: a burst of {burst} takes {interval * burst} to come back, and may take {_LONGEST.days} days: choose "
        f"a smaller burst=, a larger count= or a shorter per="
    )


def _check_span(what: str, option: str, value: object) -> None:
    if not isinstance(value, timedelta) or not timedelta(0) < value <= _LONGEST:
        raise DefinitionError(
            f"{what}: {option}= is a duration of more than zero and at most {_LONGEST.days} days, such as "
            f"timedelta(minutes=1), not {value!r}"
        )


def _check_count(what: str, option: str, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= _MOST:
        raise DefinitionError(f"{what}: {option}= is a whole number from 1 to {_MOST:,}, not {value!r}")


def _check_text(what: str, option: str, value: object) -> None:
    if value is None:
        return
    if not isinstance(value, str) or not 1 <= len(value) <= _LONGEST_NAME or not value.isprintable():
        raise DefinitionError(f"{what}: {option}= is text of 1 to {_LONGEST_NAME} printable characters, not {value!r}")
