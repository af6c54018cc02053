"""The group ``holdfast limit``."""

from __future__ import annotations

import click

from holdfast.cli.limit.look import list_limits


@click.group()
def limit() -> None:
    """See limits, rates, throttles and debounces: how much of each is taken, and who waits.

    \b
      holdfast limit list
    """  # noqa: D301 - \b keeps click from wrapping the examples


limit.add_command(list_limits)
