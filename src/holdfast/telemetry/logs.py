"""Log lines that machines read: one JSON object each."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import Any

from holdfast.workflow.log_context import FIELDS, LogContext

_STANDARD = {*vars(logging.makeLogRecord({})), "message", "asctime", "taskName", *FIELDS, "workflow"}
_PLAIN = (str, int, float, bool)


class JsonLines(logging.Formatter):
    """One JSON object for each record: ``time``, ``level``, ``logger``, ``message``, what is known of the run, extras.

    Of the run it has ``run_id``, ``run_name``, ``step``, ``attempt`` and ``worker``, where a :class:`LogContext` has
    put them; an error is in ``exception``. What else a record was given as ``extra=`` stands beside them.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        known = vars(record)
        line |= {field: known[field] for field in FIELDS if known.get(field) is not None}
        if record.exc_info and not record.exc_text:
            record.exc_text = self.formatException(record.exc_info)
        if record.exc_text:
            line["exception"] = record.exc_text
        if record.stack_info:
            line["stack"] = self.formatStack(record.stack_info)
        for name, value in known.items():
            if name not in _STANDARD and name not in line:
                line[name] = value if value is None or isinstance(value, _PLAIN) else str(value)
        return json.dumps(line, ensure_ascii=False)


def json_handler(handler: logging.Handler) -> logging.Handler:
    """The handler, made to write such lines."""
    handler.addFilter(LogContext())
    handler.setFormatter(JsonLines())
    return handler
