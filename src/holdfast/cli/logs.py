"""Log lines on stderr, for people or for machines."""

from __future__ import annotations

import logging
import sys
from datetime import datetime

from holdfast.telemetry.logs import json_handler

_QUIET = ("asyncio", "asyncpg")


def set_up_logs(level: str, *, process: bool = False, as_json: bool = False) -> None:
    """Sends log lines of ``level`` and above to stderr: time, level, logger, words; ``process`` adds the process id.

    With ``as_json`` each line is a JSON object, for machines.
    """
    handler = logging.StreamHandler(sys.stderr)
    if as_json:
        json_handler(handler)
    else:
        handler.setFormatter(_Lines(process=process))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))


class _Lines(logging.Formatter):
    """``12:03:11.042 WARNING worker: words``."""

    def __init__(self, *, process: bool) -> None:
        pid = " [%(process)d]" if process else ""
        super().__init__(f"%(clock)s %(levelname)-7s{pid} %(short)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        record.clock = datetime.fromtimestamp(record.created).astimezone().strftime("%H:%M:%S.%f")[:-3]
        record.short = record.name.removeprefix("holdfast.")
        return super().format(record)
