"""Going on with a fresh journal."""

from __future__ import annotations

import asyncio
from typing import NoReturn

from holdfast.core.errors import ForbiddenInWorkflow
from holdfast.workflow.current import workflow_loop


class Continued(BaseException):
    """The run ends here and goes on as a new one, with this input (JSON text). No ``except Exception`` sees it."""

    def __init__(self, input_text: str) -> None:
        self.input = input_text
        super().__init__("the run goes on as a new one")


def continue_as_new(*args: object, **kwargs: object) -> NoReturn:
    """Ends this run and goes on as a new one of the same workflow, with these arguments and an empty journal.

    For what runs for ever, or for long: a journal only grows, and is read from its beginning on every replay. The new
    run has the tags, options, deadline and parent of this one; signals that were not waited for yet lie before it, in
    their order. Whoever has the id of the first run means the newest: its handle gives the result of the last.
    Children that are open go by their policy, as at any end. To be called in the workflow's own task, not in one that
    it has made; ``finally`` blocks run. With types: ``poll.continue_as_new(cursor)``.

    Raises:
        InvalidInput: the arguments do not fit the workflow; the run goes on.
        ForbiddenInWorkflow: it was called in another task than that of the workflow.
        RuntimeError: it is not workflow code that asks.
    """
    loop = workflow_loop("continue_as_new()", "start a run with client.start()")
    workflow = loop.workflow
    assert workflow is not None
    text = workflow.parameters.encode(args, kwargs).text
    if asyncio.current_task() is not loop.delivery.main and not loop.dropped:
        raise ForbiddenInWorkflow(
            "continue_as_new() was called in a task that the workflow has made: let that return, and call it where the "
            "workflow itself goes on"
        )
    raise Continued(text)
