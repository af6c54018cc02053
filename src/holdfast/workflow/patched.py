"""Changing the code of a workflow under runs that are on their way."""

from __future__ import annotations

from holdfast.core.errors import DefinitionError
from holdfast.workflow.current import workflow_loop

_LONGEST_NAME = 200


def patched(name: str) -> bool:
    """Whether this run takes the new way of a change that is called ``name``, to be asked where the code has changed.

    True for a run that comes here for the first time, which is then recorded in its journal before anything that
    follows begins; False for one that went on from here before the change was made. A run has one answer for each name,
    wherever, however often and by whichever of its tasks it is asked, live and on every replay.

    Once no run is open that was answered False, the call and the old way can be removed: ``holdfast check`` tells.

    Raises:
        DefinitionError: the name is empty, too long, or contains a character that cannot be printed.
        RuntimeError: it is not workflow code that asks.
    """
    loop = workflow_loop("patched()", "there is nothing that would be replayed")
    if not name or len(name) > _LONGEST_NAME or not name.isprintable():
        raise DefinitionError(
            f"the name of a patch has 1 to {_LONGEST_NAME} characters that can be printed, unlike {name!r}"
        )
    return loop.delivery.ask_patch(name, dropped=loop.dropped)
