"""The group ``holdfast queue``."""

from __future__ import annotations

import click

from holdfast.cli.queue.look import dead, list_queues, peek
from holdfast.cli.queue.upkeep import pause, purge, redrive, resume
from holdfast.cli.queue.use import receive, send


@click.group()
def queue() -> None:
    """Send and receive messages, and look after queues.

    \b
      holdfast queue send emails '{"to": "ada@example.com"}'
      holdfast queue list
      holdfast queue peek emails
      holdfast queue dead emails
    """  # noqa: D301 - \b keeps click from wrapping the examples


for command in (list_queues, send, receive, peek, dead, redrive, purge, pause, resume):
    queue.add_command(command)
