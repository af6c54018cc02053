"""What is to be started, made into rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

from holdfast.client.context import plain_json
from holdfast.client.ids import Ids
from holdfast.client.options import StartOptions, name_mistakes
from holdfast.core.definition import Call, Definition
from holdfast.core.digest import canonical, digest_of
from holdfast.core.errors import DefinitionError, InvalidInput
from holdfast.core.key import WHEN_TAKEN, Key
from holdfast.core.limit import noted
from holdfast.core.states import RunKind
from holdfast.core.version import rank
from holdfast.store.starts import FOREVER, KeyTerms, Manner, Start

if TYPE_CHECKING:
    from holdfast.core.seal import Seal

_PLAIN = plain_json("the input of a run")


class Encoder:
    """Checks and writes arguments, and gives each start its id; nothing is sent from here."""

    def __init__(self, seal: Seal, definitions: Mapping[str, Definition[..., Any]]) -> None:
        self._seal = seal
        self._definitions = definitions
        self._ids = Ids()

    def call(self, call: Call[Any], options: StartOptions, key: str | Key | None = None) -> Start:
        """A start of this definition with these arguments."""
        definition = call.definition
        if definition.version is not None:
            self._refuse_older(definition)
        manner = _manner(definition, options)
        if key is None:
            return self._start(definition.parameters.write(call.args, call.kwargs), manner, options.stored)
        encoded = definition.parameters.encode(call.args, call.kwargs)
        return self._start(encoded.text, manner, options.stored, key, encoded.digest)

    def calls(self, calls: Iterable[Call[Any]], options: StartOptions) -> Iterator[Start]:
        """Starts of these calls, all with the same options."""
        manners: dict[str, Manner] = {}
        stored = options.stored
        for call in calls:
            definition = call.definition
            manner = manners.get(definition.name)
            if manner is None:
                self._refuse_older(definition)
                manner = manners[definition.name] = _manner(definition, options)
            yield self._start(definition.parameters.write(call.args, call.kwargs), manner, stored)

    def next_id(self) -> UUID:
        """The id of a run to be."""
        return self._ids.next()

    def input_of(self, name: str, values: Mapping[str, object]) -> str:
        """Arguments by name, as they are stored."""
        return self.named(name, values, StartOptions(), None).input

    def named(
        self,
        name: str,
        values: Mapping[str, object],
        options: StartOptions,
        key: str | Key | None,
        *,
        job: bool = False,
    ) -> Start:
        """A start by name, with arguments by name; where that is not known here, of a workflow, or of a ``job``."""
        definition = self._definitions.get(name)
        if definition is not None:
            encoded = definition.parameters.encode_named(values)
            return self._start(encoded.text, _manner(definition, options), options.stored, key, encoded.digest)
        for mistake in name_mistakes("name", name):
            raise InvalidInput(mistake)
        if any(not isinstance(one, str) for one in cast("Mapping[Any, object]", values)):
            raise InvalidInput(f"the input of {name!r} is a mapping by the names of its parameters, which are text")
        text, _ = _PLAIN.encode(dict(values))
        # Only a job is tried again.
        kind = RunKind.WORKFLOW if options.retry is None and not job else RunKind.ACTIVITY
        return self._start(text, _named(kind, name, options), options.stored, key, digest_of(canonical(text)))

    def _refuse_older(self, definition: Definition[..., Any]) -> None:
        """Arguments for one version of a workflow are not given to another."""
        newest = self._definitions.get(definition.name)
        if newest is not None and rank(newest.version) > rank(definition.version):
            raise InvalidInput(
                f"{definition.what} is not what new runs begin with: that is {newest.what}; start that one"
            )

    def _start(
        self, text: str, manner: Manner, options: str | None, key: str | Key | None = None, digest: bytes | None = None
    ) -> Start:
        sealed = self._seal.close(text, what=f"the input of {manner.name!r}")
        if self._seal.seals and (definition := self._definitions.get(manner.name)) is not None:
            options = noted(options, definition, text, self._seal)
        if not isinstance(key, Key):
            return Start(self._ids.next(), sealed, manner, key, digest, options)
        return Start(self._ids.next(), sealed, manner, key.text, digest, options, _terms(key))


def _manner(definition: Definition[..., Any], options: StartOptions) -> Manner:
    if options.retry is not None and definition.kind is RunKind.WORKFLOW:
        raise InvalidInput(
            f"{definition.what} cannot be started with retry=: what is tried again are the activities that it calls, "
            "each as its own retry= says; a run that has failed goes on by handle.retry()"
        )
    return _named(definition.kind, definition.name, options)


def _named(kind: RunKind, name: str, options: StartOptions) -> Manner:
    return Manner(kind, name, options.lane, options.priority, options.due, options.after, options.timeout, options.tags)


def _terms(key: Key) -> KeyTerms:
    window, taken = key.window, WHEN_TAKEN[key.taken]
    if isinstance(window, timedelta):
        return KeyTerms(window, while_open=False, taken=taken)
    return FOREVER if window == "forever" and not taken else KeyTerms(None, while_open=window == "open", taken=taken)


def as_call(what: object, args: tuple[object, ...]) -> Call[Any]:
    """What is to be started, from what a caller may give.

    Raises:
        DefinitionError: it is neither a workflow, nor an activity, nor a call of one.
    """
    if isinstance(what, Definition):
        definition: Definition[..., Any] = what  # pyright: ignore[reportUnknownVariableType]
        return Call(definition=definition, args=args)
    if isinstance(what, Call):
        if args:
            raise InvalidInput("a call has its arguments already: start(wf.call(...)) takes no more")
        call: Call[Any] = what  # pyright: ignore[reportUnknownVariableType]
        return call
    raise DefinitionError(
        f"{getattr(what, '__qualname__', what)!r} is not registered: decorate it with @app.workflow or @app.activity, "
        "and start what the decorator gives; or start it by its name with start_by_name"
    )
