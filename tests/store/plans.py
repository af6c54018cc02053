"""What the server did for a statement, inside functions too: which indexes it used, how many buffers it touched."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import asyncpg

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]

BIG = frozenset({"run", "task", "journal", "result", "inbox", "start_key"})
"""Tables that are never to be read from one end to the other."""


@dataclass(slots=True)
class Plans:
    """The plans of all statements that were executed, those inside functions before those that called them."""

    plans: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    texts: list[str] = field(default_factory=list[str])

    def nodes(self) -> Iterator[dict[str, Any]]:
        """Every node of every plan."""
        for plan in self.plans:
            yield from _nodes(plan)

    @property
    def buffers(self) -> int:
        """Buffers touched by the outermost statement, whatever it called."""
        last = self.plans[-1]
        return int(last["Shared Hit Blocks"] + last["Shared Read Blocks"])

    @property
    def indexes(self) -> set[str]:
        """The indexes that were looked into."""
        return {node["Index Name"] for node in self.nodes() if "Index Name" in node and node.get("Actual Loops")}

    def touched(self, index: str) -> int:
        """Buffers touched by looking into one index, and at the rows that it led to."""
        return sum(
            int(node["Shared Hit Blocks"] + node["Shared Read Blocks"])
            for node in self.nodes()
            if node.get("Index Name") == index and node["Node Type"] in ("Index Scan", "Index Only Scan")
        )

    @property
    def walked(self) -> set[str]:
        """Big tables that were read from one end to the other."""
        return {
            node["Relation Name"]
            for node in self.nodes()
            if node["Node Type"] == "Seq Scan" and node["Relation Name"] in BIG and node.get("Actual Loops")
        }

    @property
    def passed_over(self) -> int:
        """Rows that were read in vain."""
        return sum(
            int(node.get(what, 0) * node.get("Actual Loops", 1))
            for node in self.nodes()
            for what in ("Rows Removed by Filter", "Rows Removed by Index Recheck")
        )


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from _nodes(child)


@asynccontextmanager
async def explained(connection: Connection) -> AsyncGenerator[Plans]:
    """Collects the plans of what is executed in the block."""
    found = Plans()

    def listen(_connection: object, message: Any) -> None:
        text = str(message.message)
        if "plan:\n" in text:
            explained = json.loads(text.partition("plan:\n")[2])
            found.plans.append(explained["Plan"])
            found.texts.append(explained["Query Text"])

    await connection.execute(
        """
        load 'auto_explain';
        set auto_explain.log_min_duration = 0;
        set auto_explain.log_analyze = on;
        set auto_explain.log_buffers = on;
        set auto_explain.log_timing = off;
        set auto_explain.log_format = json;
        set auto_explain.log_level = notice;
        """
    )
    connection.add_log_listener(listen)
    await connection.execute("set auto_explain.log_nested_statements = on")
    found.plans.clear()
    try:
        yield found
    finally:
        await connection.execute("set auto_explain.log_min_duration = -1")
        connection.remove_log_listener(listen)
