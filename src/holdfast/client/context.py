"""What the parts of one client share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from holdfast.core.errors import InvalidInput
from holdfast.core.returns import Returns

if TYPE_CHECKING:
    from holdfast.client.database import Database
    from holdfast.client.encoding import Encoder
    from holdfast.client.hinter import Hinter
    from holdfast.client.replies import Replies
    from holdfast.client.waiter import Waiter
    from holdfast.client.watching import Watchers
    from holdfast.core.definition import Definition
    from holdfast.core.seal import Seal


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """One client: its database, codec and limit, its waits for results and replies, and the definitions it knows."""

    encoder: Encoder

    database: Database
    seal: Seal
    waiter: Waiter
    replies: Replies
    watchers: Watchers
    hinter: Hinter
    definitions: Mapping[str, Definition[..., Any]]


def plain_json(what: str) -> Returns[Any]:
    """How values are written and read where no definition says more: as JSON."""
    return Returns(Any, what=what, misfit=InvalidInput)
