"""The terms of a schedule: everything that is said about it, checked at once, before it is stored anywhere."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from holdfast.client.context import plain_json
from holdfast.client.encoding import as_call
from holdfast.client.options import StartOptions, name_mistakes, start_options
from holdfast.core.cadence import Cadence, Span
from holdfast.core.definition import Call, Definition
from holdfast.core.errors import InvalidInput
from holdfast.core.schedule import MOST_CATCH_UP, CatchUp, Overlap
from holdfast.core.states import RunKind
from holdfast.store.schedules import Spec

if TYPE_CHECKING:
    from holdfast.core.seal import Seal

_PLAIN = plain_json("the input of a schedule")
_LONGEST_JITTER = timedelta(days=366)
_SAMPLE = datetime(2024, 2, 29, 18, 30, tzinfo=UTC)
"""A tick to try the parameter with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a schedule is to do. ``input`` is plain JSON, not yet sealed, without the parameter for the tick."""

    target: str
    kind: RunKind
    said: str
    cadence: Cadence
    span: Span
    input: str
    tick_parameter: str | None
    options: StartOptions
    jitter: timedelta
    overlap: Overlap
    catch_up: CatchUp
    catch_up_limit: int

    @property
    def digest(self) -> str:
        """The same for the same terms, in any process."""
        parts = {
            field.name: str(getattr(self, field.name)) if field.name != "kind" else int(self.kind)
            for field in dataclasses.fields(self)
        }
        return hashlib.blake2b(json.dumps(parts, sort_keys=True).encode(), digest_size=12).hexdigest()

    def spec(self, seal: Seal) -> Spec:
        """The terms as they are stored.

        Raises:
            Unstorable: the input is larger than the payload limit.
        """
        return Spec(
            target=self.target,
            kind=self.kind,
            said=self.said,
            cadence=self.cadence,
            span=self.span,
            input=seal.close(self.input, what=f"the input of a schedule of {self.target!r}"),
            tick_parameter=self.tick_parameter,
            lane=self.options.lane,
            priority=self.options.priority,
            tags=self.options.tags,
            timeout=self.options.timeout,
            jitter=self.jitter,
            overlap=self.overlap,
            catch_up=self.catch_up,
            catch_up_limit=self.catch_up_limit,
        )


def read_terms(
    name: str,
    wf: Call[Any] | Definition[..., Any] | str,
    cadence: Cadence,
    said: str,
    *,
    definitions: Mapping[str, Definition[..., Any]],
    input: Mapping[str, object] | None,
    tick_parameter: str | None,
    start: datetime | None,
    end: datetime | None,
    jitter: timedelta | None,
    overlap: str,
    catch_up: str,
    catch_up_limit: int,
    lane: str,
    priority: str,
    tags: Mapping[str, str] | None,
    timeout: timedelta | None,
) -> Terms:
    """The terms, if all that was said makes sense.

    Raises:
        InvalidInput: says everything that is wrong with the options, or what the function cannot take.
        DefinitionError: ``wf`` is none.
    """
    what = f"schedule {name!r}"
    mistakes = [
        *name_mistakes("name", name),
        *span_mistakes(start, end),
        *_word_mistakes("overlap", overlap, Overlap),
        *_word_mistakes("catch_up", catch_up, CatchUp),
        *_policy_mistakes(overlap, catch_up, catch_up_limit, jitter),
    ]
    if mistakes:
        raise InvalidInput(f"{what} cannot be made: {'; '.join(mistakes)}")
    options = start_options(what, lane=lane, priority=priority, at=None, after=None, tags=tags, timeout=timeout)
    target, kind, text = _input(what, wf, input, tick_parameter, definitions)
    return Terms(
        target=target,
        kind=kind,
        said=said,
        cadence=cadence,
        span=Span(start=start, end=end),
        input=text,
        tick_parameter=tick_parameter,
        options=options,
        jitter=jitter or timedelta(0),
        overlap=Overlap(overlap),
        catch_up=CatchUp(catch_up),
        catch_up_limit=catch_up_limit,
    )


def _input(
    what: str,
    wf: Call[Any] | Definition[..., Any] | str,
    values: Mapping[str, object] | None,
    tick_parameter: str | None,
    definitions: Mapping[str, Definition[..., Any]],
) -> tuple[str, RunKind, str]:
    """Whose run it is, and the input that all of its runs have."""
    definition = definitions.get(wf) if isinstance(wf, str) else None
    if isinstance(wf, str) and definition is None:
        for mistake in name_mistakes("the name of a workflow", wf):
            raise InvalidInput(f"{what}: {mistake}")
        text, _ = _PLAIN.encode(dict(values or {}))
        return wf, RunKind.WORKFLOW, _without(text, tick_parameter)
    call = as_call(wf if definition is None else definition, ())
    definition = call.definition
    if tick_parameter is not None:
        _check_parameter(what, definition, tick_parameter, {*call.kwargs, *(values or {})})
    if call.args or call.kwargs:
        if values is not None:
            raise InvalidInput(f"{what}: a call has its arguments already: leave input= out")
        return definition.name, definition.kind, _without(_encoded_call(call, tick_parameter), tick_parameter)
    given = dict(values or {}) | ({} if tick_parameter is None else {tick_parameter: _SAMPLE.isoformat()})
    text = definition.parameters.encode_named(given).text
    return definition.name, definition.kind, _without(text, tick_parameter)


def _check_parameter(what: str, definition: Definition[..., Any], parameter: str, given: set[str]) -> None:
    if parameter not in definition.parameters.names:
        names = ", ".join(definition.parameters.names) or "none"
        raise InvalidInput(
            f"{what}: tick_parameter is {parameter!r}, and {definition.what} has no such parameter; it has: {names}"
        )
    if parameter in given:
        raise InvalidInput(f"{what}: {parameter!r} gets the time of the tick, so it has no place in the input")


def _encoded_call(call: Call[Any], tick_parameter: str | None) -> str:
    encode = call.definition.parameters.encode
    if tick_parameter is None:
        return encode(call.args, call.kwargs).text
    try:
        return encode(call.args, {**call.kwargs, tick_parameter: _SAMPLE}).text
    except InvalidInput:
        return encode(call.args, {**call.kwargs, tick_parameter: _SAMPLE.isoformat()}).text


def _without(text: str, parameter: str | None) -> str:
    if parameter is None:
        return text
    values = json.loads(text)
    values.pop(parameter, None)
    return json.dumps(values, ensure_ascii=False, separators=(",", ":"))


# What the annotations promise is checked all the same: options come from untyped code and from command lines too.


def span_mistakes(start: object, end: object) -> Iterator[str]:
    """What is wrong with the time in which a schedule may be due."""
    aware: list[datetime] = []
    for name, moment in (("start", start), ("end", end)):
        if moment is None:
            continue
        if not isinstance(moment, datetime):
            yield f"{name} is {moment!r}: use a datetime"
        elif moment.utcoffset() is None:
            yield f"{name} is {moment.isoformat()}, without a time zone: use an aware datetime"
        elif not 1900 <= moment.year <= 9000:
            yield f"{name} is {moment.isoformat()}: use a year from 1900 to 9000"
        else:
            aware.append(moment)
    if len(aware) == 2 and aware[1] <= aware[0]:
        yield f"end is {aware[1].isoformat()}, which is not later than the start"


def _word_mistakes(name: str, word: object, words: type[Overlap | CatchUp]) -> Iterator[str]:
    known = [one.value for one in words]
    if word not in known:
        yield f"{name} is {word!r}: use one of {', '.join(known)}"


def _policy_mistakes(overlap: object, catch_up: object, limit: object, jitter: object) -> Iterator[str]:
    if overlap == Overlap.CANCEL_RUNNING and catch_up == CatchUp.ALL:
        yield "overlap='cancel_running' with catch_up='all': each would cancel the one before; use catch_up='last'"
    if not isinstance(limit, int) or not 1 <= limit <= MOST_CATCH_UP:
        yield f"catch_up_limit is {limit!r}: use 1 to {MOST_CATCH_UP}"
    if jitter is not None and not (isinstance(jitter, timedelta) and timedelta(0) <= jitter <= _LONGEST_JITTER):
        yield f"jitter is {jitter!r}: use a timedelta of zero or more, and at most {_LONGEST_JITTER.days} days"
