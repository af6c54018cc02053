"""The options of a start, checked all at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, cast, get_args

from pydantic_core import to_json

from holdfast.core.call_options import CALL, CallOptions
from holdfast.core.errors import InvalidInput
from holdfast.core.headers import NONE, Headers, header_mistakes, options_with
from holdfast.core.key import Key, WhenTaken
from holdfast.core.priority import Priority
from holdfast.core.queue import queue_of
from holdfast.core.retry import Retry
from holdfast.core.version import MARK

_LONGEST_KEY = 500
_LONGEST_LANE = 200
_LONGEST_NAME = 200
_LONGEST_TIME = timedelta(days=365_000)


@dataclass(frozen=True, slots=True)
class StartOptions:
    """How a run is to be started. ``tags`` is JSON text, ``due`` and ``after`` are given one at most."""

    lane: str = "default"
    priority: int = Priority.MEDIUM
    due: datetime | None = None
    after: timedelta | None = None
    timeout: timedelta | None = None
    tags: str | None = None
    headers: Headers = field(default_factory=lambda: NONE)
    retry: Retry | None = None

    @property
    def stored(self) -> str | None:
        """What of them is stored as the run's options, as JSON text."""
        return options_with(None if self.retry is None else _call(self.retry), self.headers)


_DEFAULT = StartOptions()


def _call(retry: Retry) -> str:
    return to_json({CALL: CallOptions.of(retry, None, None).to_fields()}).decode()


def start_options(
    what: str,
    *,
    lane: str,
    priority: str,
    at: datetime | None,
    after: timedelta | None,
    tags: Mapping[str, str] | None,
    timeout: timedelta | None,
    key: str | Key | None = None,
    headers: Mapping[str, str] | None = None,
    retry: Retry | None = None,
) -> StartOptions:
    """The options as they are stored.

    Raises:
        InvalidInput: says everything that is wrong with them; ``what`` names what was to be started.
    """
    plain = at is None and after is None and tags is None and timeout is None and key is None and headers is None
    if plain and retry is None and lane == "default" and priority == "medium":
        return _DEFAULT
    mistakes = [
        *key_mistakes("key", key),
        *lane_mistakes(lane),
        *priority_mistakes(priority),
        *due_mistakes(at, after),
        *timeout_mistakes(timeout),
        *tag_mistakes(tags),
        *header_mistakes(headers),
        *_retry_mistakes(retry),
    ]
    if mistakes:
        raise InvalidInput(f"{what} cannot be started: {'; '.join(mistakes)}")
    return StartOptions(
        lane=lane,
        priority=Priority.of(priority),
        due=at,
        after=after,
        timeout=timeout,
        tags=to_json(dict(tags)).decode() if tags else None,
        headers=dict(headers) if headers else NONE,
        retry=retry,
    )


# What the annotations promise is checked all the same: options come from untyped code and from command lines too.


def key_mistakes(what: str, key: object) -> Iterator[str]:
    """What is wrong with an idempotency key and its terms."""
    if key is None:
        return
    if not isinstance(key, Key):
        yield from _text_mistakes(what, key, longest=_LONGEST_KEY)
        return
    yield from _text_mistakes(what, key.text, longest=_LONGEST_KEY)
    window: object = key.window
    if isinstance(window, timedelta):
        yield from _span_mistakes(
            f"window of {what}", window, shortest=timedelta(microseconds=1), words="more than zero"
        )
    elif window not in ("forever", "open"):
        yield f"window of {what} is {window!r}: use 'forever', 'open' or a timedelta"
    if key.taken not in get_args(WhenTaken):
        yield f"taken of {what} is {key.taken!r}: use {', '.join(map(repr, get_args(WhenTaken)))}"


def keys_of_many(keys: Iterable[str | Key | None] | None, *, count: int) -> Sequence[str | Key | None]:
    """The idempotency keys of so many starts, one for each.

    Raises:
        InvalidInput: they are more or fewer, or one cannot be used.
    """
    if keys is None:
        return [None] * count
    given = list(keys)
    if len(given) != count:
        raise InvalidInput(f"start_many was given {count} calls and {len(given)} keys: one for each")
    mistakes = [mistake for n, key in enumerate(given) for mistake in key_mistakes(f"keys[{n}]", key or "")]
    if mistakes:
        raise InvalidInput(f"these runs cannot be started: {'; '.join(mistakes[:10])}")
    return given


def name_mistakes(what: str, name: object) -> Iterator[str]:
    """What is wrong with a name that no definition has checked."""
    yield from _text_mistakes(what, name, longest=_LONGEST_NAME)
    if isinstance(name, str) and MARK in name:
        yield f"{what} is {name!r}: a run begins with the highest version, so start it by the name alone"
    if isinstance(name, str) and name != queue_of(name):
        yield f"{what} is {name!r}, which is a queue: send to it, with client.queue({queue_of(name)!r})"


def _text_mistakes(what: str, text: object, *, longest: int) -> Iterator[str]:
    if not isinstance(text, str):
        yield f"{what} is {text!r}: use text"
    elif not 1 <= len(text) <= longest:
        yield f"{what} has {len(text)} characters: use 1 to {longest}"
    elif not _is_storable(text):
        yield f"{what} is {text!r}: it contains a character that cannot be stored"


def lane_mistakes(lane: object) -> Iterator[str]:
    """What is wrong with the name of a lane, in words."""
    if not isinstance(lane, str):
        yield f"lane is {lane!r}: use text"
    elif not lane or len(lane) > _LONGEST_LANE or any(c.isspace() for c in lane) or not _is_storable(lane):
        yield f"lane is {lane!r}: use 1 to {_LONGEST_LANE} characters without blanks"


def queue_mistakes(queue: object) -> Iterator[str]:
    """What is wrong with the name of a queue, in words."""
    for mistake in lane_mistakes(queue):
        yield mistake.replace("lane is", "the name of a queue is", 1)


def priority_mistakes(priority: object) -> Iterator[str]:
    """What is wrong with the word for a priority."""
    try:
        Priority.of(cast("str", priority))
    except ValueError as error:
        yield str(error)


def due_mistakes(at: object, after: object) -> Iterator[str]:
    """What is wrong with when a run is to be due."""
    if at is not None and after is not None:
        yield "at and after are both given: use one of them"
    if at is not None:
        if not isinstance(at, datetime):
            yield f"at is {at!r}: use a datetime"
        elif at.utcoffset() is None:
            yield f"at is {at.isoformat()}, without a time zone: use datetime.now(timezone.utc) or another aware one"
    yield from _span_mistakes("after", after, shortest=timedelta(0), words="zero or more")


def timeout_mistakes(timeout: object) -> Iterator[str]:
    """What is wrong with the timeout of a run."""
    yield from _span_mistakes("timeout", timeout, shortest=timedelta(microseconds=1), words="more than zero")


def _retry_mistakes(retry: object) -> Iterator[str]:
    if retry is not None and not isinstance(retry, Retry):
        yield f"retry is {retry!r}: use a Retry, such as Retry(max_attempts=3)"


def _span_mistakes(name: str, span: object, *, shortest: timedelta, words: str) -> Iterator[str]:
    if span is None:
        return
    if not isinstance(span, timedelta):
        yield f"{name} is {span!r}: use a timedelta"
    elif not shortest <= span <= _LONGEST_TIME:
        yield f"{name} is {span}: use {words}, and at most {_LONGEST_TIME.days:,} days"


def tag_mistakes(tags: object) -> Iterator[str]:
    """What is wrong with tags."""
    if tags is None:
        return
    if not isinstance(tags, Mapping):
        yield f"tags is {tags!r}: use a mapping of text to text"
        return
    pairs: Mapping[Any, Any] = tags  # pyright: ignore[reportUnknownVariableType]
    for name, value in pairs.items():
        if not isinstance(name, str) or not isinstance(value, str):
            yield f"tags has {name!r}: {value!r}: use text for both"
        elif not _is_storable(name) or not _is_storable(value):
            yield f"tags has {name!r}: {value!r}: it contains a character that cannot be stored"


def _is_storable(text: str) -> bool:
    """Postgres takes any text but NUL, and UTF-8 has no lone surrogates."""
    return "\0" not in text and (text.isascii() or not any("\ud800" <= c <= "\udfff" for c in text))
