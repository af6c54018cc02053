"""Words on the command line that stand for values: durations, times, ids, tags, input."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import cast
from uuid import UUID

import click
from pydantic import JsonValue

from holdfast.core.period import read_period


def duration(text: str) -> timedelta:
    """``90`` seconds, ``1h30m``, ``11d``, ``250ms``."""
    try:
        return read_period(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def moment(text: str) -> datetime:
    """``2030-01-31`` or ``2030-01-31T09:00``; without an offset, a time of this machine."""
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise click.BadParameter(f"{text!r} is not a time; write 2030-01-31T09:00 or 2030-01-31T09:00+02:00") from error


def run_id(text: str) -> UUID:
    """The id of a run."""
    try:
        return UUID(text)
    except ValueError as error:
        raise click.BadParameter(f"{text!r} is not the id of a run; `holdfast run list` shows ids") from error


def address(text: str) -> tuple[str, int]:
    """``9464`` on 127.0.0.1, or ``0.0.0.0:9464``."""
    host, colon, port = text.rpartition(":")
    if not port.isdecimal() or int(port) > 65535 or (colon and not host):
        raise click.BadParameter(f"{text!r} is not a port; write 9464, or 0.0.0.0:9464 for all of the network")
    return host.strip("[]") or "127.0.0.1", int(port)


def tag(text: str) -> tuple[str, str]:
    """``name=value``."""
    name, equals, word = text.partition("=")
    if not name or not equals:
        raise click.BadParameter(f"{text!r} is not a tag; write name=value")
    return name, word


def header(text: str) -> tuple[str, str]:
    """``name=value``."""
    name, equals, word = text.partition("=")
    if not name or not equals:
        raise click.BadParameter(f"{text!r} is not a header; write name=value")
    return name, word


def read_json(text: str, *, what: str) -> JsonValue:
    """The JSON in ``text``.

    Raises:
        click.BadParameter: it is none.
    """
    try:
        return cast("JsonValue", json.loads(text))
    except ValueError as error:
        raise click.BadParameter(f"{what} is not JSON: {error}; a text needs its quotes: '\"like this\"'") from error


def read_input(document: str | None, assignments: tuple[str, ...]) -> dict[str, JsonValue]:
    """The arguments of a run, by name: a JSON object, or ``name=value`` words, or both; the words win.

    A value that is JSON is taken as such, any other as a text; ``name:=value`` insists on JSON.

    Raises:
        click.BadParameter: it is not an object, or a word is no assignment.
    """
    found: dict[str, JsonValue] = {}
    if document is not None:
        value = read_json(document, what="--input")
        if not isinstance(value, dict):
            raise click.BadParameter('--input is one JSON object by parameter name, such as \'{"company": "Acme"}\'')
        found.update(value)
    for word in assignments:
        name, equals, text = word.partition("=")
        strict = name.endswith(":")
        name = name.removesuffix(":")
        if not equals or not name:
            raise click.BadParameter(f"{word!r} is not name=value")
        found[name] = read_json(text, what=name) if strict else _guess(text)
    return found


def _guess(text: str) -> JsonValue:
    try:
        return cast("JsonValue", json.loads(text))
    except ValueError:
        return text
