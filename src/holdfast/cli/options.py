"""The options that many commands share, and the app and output that they amount to."""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, ParamSpec

import click

from holdfast.app import App, load_app
from holdfast.cli.loop import run_to_end
from holdfast.cli.output import Output
from holdfast.core.errors import ConfigurationError

P = ParamSpec("P")

Command = Callable[..., Any]


class Door:
    """What every command gets first: how to answer, and which app and database it is about."""

    def __init__(self, *, app: str | None, database_url: str | None, schema: str | None, as_json: bool) -> None:
        self.out = Output(as_json=as_json)
        self.app_spec = app
        self.database_url = database_url
        self.schema = schema

    @functools.cached_property
    def app(self) -> App:
        """The app that ``--app`` names, or one without definitions; options win over its own settings."""
        app = load_app(self.app_spec) if self.app_spec else App()
        if self.database_url is not None:
            app.override(origin="--database-url", database_url=self.database_url)
        if self.schema is not None:
            app.override(origin="--schema", schema=self.schema)
        return app

    @property
    def app_as_it_is(self) -> App:
        """The app, for commands that look at what is there: they make no schema, least of all one that was mistyped."""
        self.app.override(origin="this command only looks", auto_setup=False)
        return self.app

    @property
    def has_app(self) -> bool:
        """Whether the definitions are at hand."""
        return self.app_spec is not None

    def need_app(self) -> App:
        """The app, for commands that cannot do without its definitions.

        Raises:
            ConfigurationError: none was named.
        """
        if not self.has_app:
            raise ConfigurationError("which app? Say --app module:attribute, or set HOLDFAST_APP")
        return self.app


def with_door(*, app: bool = True) -> Callable[[Callable[Concatenate[Door, P], Any]], Command]:
    """Gives a command ``--database-url``, ``--schema``, ``--json`` and, unless refused, ``--app``; and their door.

    A coroutine function is run to its end; what it returns is the exit code, if it is not None.
    """

    def decorate(fn: Callable[Concatenate[Door, P], Any]) -> Command:
        @functools.wraps(fn)
        def command(
            *args: Any,
            database_url: str | None,
            schema: str | None,
            as_json: bool,
            app: str | None = None,
            **kwargs: Any,
        ) -> Any:
            door = Door(app=app, database_url=database_url, schema=schema, as_json=as_json)
            answer = fn(door, *args, **kwargs)
            if isinstance(answer, Coroutine):
                answer = run_to_end(answer)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
            return answer  # pyright: ignore[reportUnknownVariableType]

        wrapped: Command = command
        for option in reversed(_SHARED if not app else (_APP, *_SHARED)):
            wrapped = option(wrapped)
        return wrapped

    return decorate


_APP = click.option(
    "--app",
    metavar="MODULE:APP",
    envvar="HOLDFAST_APP",
    help="The app with the workflows and activities.  [env: HOLDFAST_APP]",
)
_SHARED = (
    click.option(
        "--database-url",
        metavar="URL",
        help="Which Postgres, or 'embedded'; goes before HOLDFAST_DATABASE_URL and every file.",
    ),
    click.option("--schema", metavar="NAME", help="The schema of Holdfast's tables.  [default: holdfast]"),
    click.option("--json", "as_json", is_flag=True, help="JSON on stdout; what is for people goes to stderr."),
)
