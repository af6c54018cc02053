"""What an inspection finds: one thing each, with how bad it is and what to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum

from holdfast.app.settings import AppSettings
from holdfast.embedded import Description
from holdfast.store.check import NEWEST_SERVER, OLDEST_SERVER, HorizonHolder, LiveWorker, Server, UnservedVersion
from holdfast.store.connect import hide_password
from holdfast.store.partitions import PartitionState
from holdfast.store.roles import Grant
from holdfast.worker.roof import ALONE as CONNECTIONS

_LONG_HORIZON = timedelta(minutes=10)
_OLD_HORIZON = 1_000_000  # transactions, where it is not known how long that is


class Level(Enum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"
    FAULT = "fault"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line of the check. ``data`` is for programs."""

    topic: str
    text: str
    level: Level = Level.OK
    advice: str | None = None
    data: Mapping[str, object] = field(default_factory=dict[str, object])

    def as_json(self) -> dict[str, object]:
        """Its documented form."""
        return {
            "topic": self.topic,
            "level": self.level.value,
            "text": self.text,
            "advice": self.advice,
            "data": dict(self.data),
        }


def of_settings(settings: AppSettings) -> list[Finding]:
    """The settings, each with its origin."""
    url = settings.database_url
    shown: dict[str, tuple[object, str]] = {
        "database_url": ("embedded" if url.value is None else hide_password(url.value), url.origin),
        "schema": (settings.schema.value, settings.schema.origin),
        "payload_limit": (settings.payload_limit.value, settings.payload_limit.origin),
        "auto_setup": (settings.auto_setup.value, settings.auto_setup.origin),
    }
    return [
        Finding(topic=name, text=f"{value}  (from: {origin})", data={"value": value, "origin": origin})
        for name, (value, origin) in shown.items()
    ]


def of_embedded(description: Description) -> list[Finding]:
    """Where the embedded Postgres has its things."""
    moved = f"; not in {description.wanted}: {description.moved}" if description.moved else ""
    lines = {
        "embedded data": (f"{description.cluster}{moved}", description.cluster),
        "embedded programs": (f"{description.bin_dir}, {description.bin_origin}", description.bin_dir),
        "embedded socket": (f"{description.socket_dir}", description.socket_dir),
        "embedded log": (f"{description.log}", description.log),
        "embedded account": (f"{description.account}, durability {description.durability}", description.account),
    }
    return [Finding(topic=topic, text=text, data={"value": value}) for topic, (text, value) in lines.items()]


def of_server(server: Server) -> list[Finding]:
    """Version, mode and connections."""
    data = {"version": server.version, "role": server.role, "database": server.database}
    found = [
        Finding(
            topic="server",
            text=f"PostgreSQL {server.version}, database {server.database}, as {server.role}",
            level=Level.FAULT if server.major < OLDEST_SERVER else Level.OK,
            advice=f"Holdfast needs PostgreSQL {OLDEST_SERVER} or newer" if server.major < OLDEST_SERVER else None,
            data=data,
        )
    ]
    if server.major > NEWEST_SERVER:
        found.append(
            Finding(
                topic="server",
                text=f"version {server.major} is newer than what this release was tested on ({NEWEST_SERVER})",
                level=Level.WARNING,
            )
        )
    if server.standby or server.read_only:
        found.append(
            Finding(
                topic="server",
                text="it is a standby" if server.standby else "default_transaction_read_only is on for this user",
                level=Level.FAULT,
                advice="connect to the primary" if server.standby else "turn it off for this user",
            )
        )
    found.append(_connections(server))
    return found


def _connections(server: Server) -> Finding:
    # The one that asks goes in a moment.
    free = server.usable - server.used + 1
    data = {"max_connections": server.max_connections, "free": free, "needed_by_a_worker": CONNECTIONS}
    text = (
        f"{server.used} of {server.max_connections} in use, {free} free; a worker process opens up to {CONNECTIONS}, "
        "a client its pool_size and one to listen"
    )
    if free < CONNECTIONS:
        return Finding(
            topic="connections",
            text=text,
            level=Level.FAULT,
            advice="raise max_connections, or close other clients: another worker cannot start",
            data=data,
        )
    return Finding(topic="connections", text=text, data=data)


def of_rights(missing: Mapping[str, list[Grant]], schema: str) -> list[Finding]:
    """What this user may do, for each of the parts that a process can play."""
    found: list[Finding] = []
    for part, grants in missing.items():
        if not grants:
            found.append(Finding(topic="rights", text=f"enough for a {part}"))
            continue
        found.append(
            Finding(
                topic="rights",
                text=f"not enough for a {part}: {', '.join(map(str, grants))}",
                # A user that is meant for one part needs no rights for the others.
                level=Level.FAULT if all(missing.values()) else Level.WARNING,
                advice=f"holdfast db sql --roles, then: grant {schema}_{part} to this user",
                data={"part": part, "missing": [str(grant) for grant in grants]},
            )
        )
    return found


def of_partitions(state: PartitionState) -> list[Finding]:
    """Whether there are tables for the days to come, where the tables are divided by day."""
    if not state.partitioned:
        return []
    data = {
        "first_day": str(state.first_day),
        "last_day": str(state.last_day),
        "past": state.past,
        "strays": state.strays,
    }
    beside = "; something lies in no day, and is removed run by run" if state.strays else ""
    late = not state.ahead
    return [
        Finding(
            topic="days",
            text=f"tables for each day from {state.first_day} to {state.last_day}{beside}",
            level=Level.WARNING if late else Level.OK,
            advice="nobody has made the days to come: `holdfast db partition --by day` as the owner, see to it that "
            "a worker with the rights of `holdfast db sql --roles` runs"
            if late
            else None,
            data=data,
        )
    ]


def of_horizon(holders: list[HorizonHolder]) -> list[Finding]:
    """Who pins the xmin horizon, if that matters."""
    if not holders:
        return [Finding(topic="oldest snapshot", text="nobody holds one")]
    oldest = holders[0]
    held = f", for {_span(oldest.held)}" if oldest.held is not None else ""
    pinned = oldest.age > _OLD_HORIZON if oldest.held is None else oldest.held > _LONG_HORIZON
    return [
        Finding(
            topic="oldest snapshot",
            text=f"{oldest.kind} ({oldest.who}): {oldest.age} transactions{held}",
            level=Level.WARNING if pinned else Level.OK,
            advice="vacuum cannot clear what ended since; end that transaction or slot" if pinned else None,
            data={"kind": oldest.kind, "who": oldest.who, "age": oldest.age, "held": oldest.held},
        )
    ]


def of_workers(workers: list[LiveWorker]) -> list[Finding]:
    """Who executes what is started."""
    if not workers:
        return [
            Finding(
                topic="workers",
                text="none is alive: what is started waits",
                level=Level.WARNING,
                advice="holdfast worker --app module:app",
            )
        ]
    return [
        Finding(
            topic="worker",
            text=f"{worker.name}, lane {worker.lane}, {worker.state}, holds {worker.held}, "
            f"pid {worker.pid} on {worker.host}, lease {_span(worker.lease)} ({_span(worker.left_of_lease)} left)",
            data={
                "id": worker.id,
                "name": worker.name,
                "host": worker.host,
                "pid": worker.pid,
                "lane": worker.lane,
                "state": worker.state,
                "held": worker.held,
                "started_at": worker.started_at,
                "lease": worker.lease,
            },
        )
        for worker in workers
    ]


def of_versions(unserved: list[UnservedVersion]) -> list[Finding]:
    """Runs that stay as they are because no worker carries the version that they began with."""
    return [
        Finding(
            topic="version",
            text=f"{one.runs} open run{'s' if one.runs > 1 else ''} of {one.name} began with version {one.version}, "
            f"which no live worker of lane {one.lane} carries",
            level=Level.WARNING,
            advice=f"start a worker whose app has that version beside newer ones; they are found by: holdfast run list "
            f"--name {one.name} --version {one.version}",
            data={"lane": one.lane, "name": one.name, "version": one.version, "runs": one.runs},
        )
        for one in unserved
    ]


def _span(span: timedelta) -> str:
    seconds = span.total_seconds()
    return f"{seconds:.1f} s" if seconds < 100 else str(timedelta(seconds=round(seconds)))
