"""A logger for workflow code: each line once, although the code runs again on every replay."""

from __future__ import annotations

import logging
from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any

from holdfast.workflow.current import current_loop

if TYPE_CHECKING:
    _Adapter = logging.LoggerAdapter[logging.Logger]
else:
    _Adapter = logging.LoggerAdapter


class WorkflowLogger(_Adapter):
    """A logger that is silent while its run is replayed or left behind, and adds ``run_id`` and ``workflow``.

    Outside of workflow code it is an ordinary logger.
    """

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802 - the name is logging's
        loop = current_loop()
        if loop is not None and (loop.dropped or loop.delivery.replaying):
            return False
        return super().isEnabledFor(level)

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        loop = current_loop()
        if loop is not None:
            given: dict[str, object] = kwargs.get("extra") or {}
            kwargs["extra"] = {"run_id": str(loop.info.run_id), "workflow": loop.info.name, **given}
        return msg, kwargs


def get_logger(name: str) -> WorkflowLogger:
    """The logger ``name``, for workflow code."""
    return WorkflowLogger(logging.getLogger(name), {})


logger = get_logger("holdfast.run")
"""A logger for workflow code, named ``holdfast.run``."""
