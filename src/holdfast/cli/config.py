"""``holdfast config``: every setting as it is, and where it came from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, cast

import click
from rich.table import Table
from rich.text import Text

from holdfast.app.settings import EMBEDDED
from holdfast.app.worker_settings import Said
from holdfast.cli.options import Door, with_door
from holdfast.core.period import write_period
from holdfast.core.settings import SETTINGS
from holdfast.store.connect import hide_password

if TYPE_CHECKING:
    from holdfast.app.hosted import HostedWorker
    from holdfast.app.settings import AppSettings

Shown = dict[str, dict[str, object]]


@click.command()
@click.option(
    "--lane", "lanes", metavar="LANE", multiple=True, help="As a worker of this lane would have it; repeated."
)
@with_door()
def config(door: Door, *, lanes: tuple[str, ...]) -> None:
    """Show every setting of the app and its workers, and where it came from; nothing is connected to.

    \b
      holdfast config
      holdfast config --app shop.orders:app --lane reports
      holdfast config --json | jq '.workers[].lease'

    Settings come from the command line, the code, the environment, holdfast.toml or pyproject.toml, .env, or are the
    default; the first of these decides. Passwords in URLs are not shown. Mistakes are reported, all at once, with exit
    code 2. JSON: {"app": {name: {"value", "origin"}}, "workers": [{name: {"value", "origin"}}]}; times in seconds
    """  # noqa: D301 - \b keeps click from wrapping the examples
    flags = {"lane": Said(value=list(lanes), origin="--lane", form="text")} if lanes else {}
    workers = list(door.app.workers(flags=flags))
    settings = _of_app(door.app.settings())
    shown = [_of_worker(one) for one in workers]
    titled = [("app", settings), *((f"worker of lane {_words(one['lane']['value'])}", one) for one in shown)]
    door.out.answer({"app": settings, "workers": shown}, *(_table(title, values) for title, values in titled))


def _of_app(settings: AppSettings) -> Shown:
    url = settings.database_url
    found: Shown = {
        "database_url": {
            "value": EMBEDDED if url.value is None else hide_password(url.value),
            "origin": url.origin,
        }
    }
    for name in ("schema", "payload_limit", "auto_setup", "data_dir", "bin_dir"):
        one = getattr(settings, name)
        found[name] = {"value": one.value, "origin": one.origin}
    return found


def _of_worker(worker: HostedWorker) -> Shown:
    return {name: {"value": getattr(worker.settings, name), "origin": worker.origins[name]} for name in SETTINGS}


def _table(title: str, values: Shown) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", title=title, title_justify="left", title_style="bold")
    for column in ("setting", "value", "from"):
        table.add_column(column, no_wrap=column == "setting", overflow="fold")
    for name, one in values.items():
        origin = str(one["origin"])
        words = _words(one["value"]) or _EMPTY.get(name, "")
        table.add_row(name, Text(words), Text(origin, style="dim" if origin == "default" else ""))
    return table


def _words(value: object) -> str:
    return ", ".join(_parts(value))


_EMPTY = {"buckets": "1 each", "keep": "for ever"}


def _parts(value: object) -> Iterator[str]:
    match value:
        case None:
            yield "-"
        case bool():
            yield str(value).lower()
        case timedelta():
            yield write_period(value)
        case Mapping():
            for word, one in cast("Mapping[str, object]", value).items():
                yield f"{word}={_words(one)}"
        case _:
            yield str(value)
