"""The least rights that clients, drivers, workers and consumers can do with, as data and as the SQL that grants them.

The functions of the schema run with the rights of their caller, so these are rights on tables; but for two, which make
and drop the tables of days.
"""

from __future__ import annotations

from itertools import groupby
from typing import NamedTuple


class Grant(NamedTuple):
    """A right on a table, or on one column of it."""

    table: str
    right: str
    column: str = ""

    def __str__(self) -> str:
        return f"{self.right} on {self.table}{f' ({self.column})' if self.column else ''}"


def _grants(**tables: str) -> tuple[Grant, ...]:
    found: list[Grant] = []
    for table, words in tables.items():
        for word in words.split():
            right, _, column = word.partition(":")
            found.append(Grant(table, right, column))
    return tuple(found)


CLIENT = _grants(
    migration="select",
    run="select insert",
    successor="select",
    # A signal counts and wakes; a cancelled run that nobody has begun ends at once, so its task goes.
    task="select insert delete update:inbox_count update:wake_at update:due_at update:flags"
    " update:lane update:priority",
    result="select insert",
    inbox="select insert delete",
    start_key="select insert update",
    journal="select",
    blockage="select delete",
    pause="select insert update delete",
    reschedule="select insert update delete",
    heartbeat="select delete",
    cancel_request="insert",
    limit_key="select update delete",
    permit="select delete",
    permit_wait="select delete",
    permit_line="select update",
    permit_block="select",
    # What a worker is told; it reads that with its heartbeats.
    worker="select update:command",
    bucket="select",
    schedule="select insert update delete",
    driven="select insert",
    # A dead letter that is cancelled is none any more.
    dead_letter="select delete",
    consumer="select",
    queue="select",
    runs="select",
)
"""What a client needs: it can start, signal, cancel, pause, resume, wake, terminate and look.

It cannot write a journal, hold a run or be a worker.
"""

DRIVER = CLIENT + _grants(
    # What it takes it has in hand, under a hold of its own; what comes of it is recorded.
    task="update:hold update:first_claim_at update:waits_for update:crashes",
    journal="insert",
    pause="update",
    lane_floor="select insert update",
    # It is registered among the workers, and can renew and end its own lease there.
    worker="insert update:lease_until update:epoch update:state update:ended_at",
    consumer="insert update",
)
"""What a consumer of runs that are driven by hand needs: all of a client, and to take runs and record their steps.

It cannot claim what is for workers.
"""

WORKER = _grants(
    migration="select",
    # The runs of schedules, and children, are started by workers.
    run="select insert update:kind",
    successor="select insert",
    task="select insert update delete",
    start_key="select insert",
    journal="select insert",
    result="select insert",
    inbox="select insert update delete",
    blockage="select insert update delete",
    pause="select update delete",
    reschedule="select delete",
    heartbeat="select insert update delete",
    cancel_request="select insert update delete",
    limit_key="select insert update delete",
    permit="select insert update delete",
    permit_wait="select insert update delete",
    permit_line="select insert update delete",
    permit_block="select insert update delete",
    worker="select insert update",
    fence="select insert update delete",
    bucket="select insert update delete",
    lane_floor="select insert update delete",
    schedule="select insert update",
    dead_letter="select delete",
    runs="select",
)
"""What a worker needs: it executes what others and schedules start, and changes no journal or result."""


OPERATOR = _grants(
    migration="select",
    # A run that goes on from another one has a copy of its journal. Records that are old enough go.
    run="select insert delete update:tags update:options update:continued_from",
    successor="select insert delete",
    task="select insert delete update:inbox_count update:wake_at update:due_at update:flags",
    journal="select insert delete",
    # Nothing of it is changed: to lock its rows takes the right to.
    result="select insert delete update:version",
    inbox="select insert delete",
    start_key="select update delete",
    blockage="select delete",
    pause="select insert delete",
    heartbeat="select delete",
    cancel_request="select insert delete",
    schedule="select update:last_run update:running",
    upkeep="select insert update",
    worker="select",
    bucket="select",
    runs="select",
)
"""What it takes, beside the rights of a client, to retry, rewind, fork and tag runs, and to prune.

A worker that prunes by itself needs it too. It cannot hold a run or be a worker.
"""


CONSUMER = _grants(
    migration="select",
    # What is acknowledged is gone; with a key it stays, as what is archived does.
    run="select delete",
    task="select delete update:hold update:due_at update:flags update:wake_at update:first_claim_at update:waits_for"
    " update:crashes",
    result="insert",
    inbox="select delete",
    pause="select delete",
    queue="select insert update",
    dead_letter="select insert delete",
    lane_floor="select insert update",
    # Floors ask it; no message waits for a permit.
    permit_line="select",
    # It is registered among the workers, and can renew and end its own lease there.
    worker="select insert update:lease_until update:epoch update:state update:ended_at",
    consumer="select insert update",
)
"""What a consumer of queues needs: it receives and settles messages. What sends them needs the rights of a client."""


FUNCTIONS = {
    "worker": ("make_day(int)",),
    "operator": ("make_day(int)", "prune_day(smallint[], interval[], interval, uuid, int)"),
}
"""What makes and drops tables runs with the rights of the schema's owner, and only these may call it."""


def roles_sql(schema: str) -> str:
    """A script that makes the roles ``<schema>_client``, ``_driver``, ``_worker``, ``_operator`` and ``_consumer``.

    Safe to run again, which is to be done after an upgrade of the schema.
    """
    parts = [_HEAD.format(schema=schema)]
    for name, grants in _ROLES:
        role = f"{schema}_{name}"
        parts.append(_ROLE.format(role=role))
        parts.append(f"grant usage on schema {schema} to {role};\n")
        for table, rights in groupby(grants, key=lambda grant: grant.table):
            listed = ", ".join(f"{right} ({column})" if column else right for _, right, column in rights)
            parts.append(f"grant {listed} on {schema}.{table} to {role};\n")
        parts += [f"grant execute on function {schema}.{call} to {role};\n" for call in FUNCTIONS.get(name, ())]
    parts.append(_TAIL.format(schema=schema))
    return "".join(parts)


_ROLES = (("client", CLIENT), ("driver", DRIVER), ("worker", WORKER), ("operator", OPERATOR), ("consumer", CONSUMER))

_HEAD = """\
-- The rights of clients, drivers, workers and operators in the schema {schema}.
-- Apply it as the owner of the schema, again after each upgrade of the schema. Then:
--   grant {schema}_client to your_web_user;
--   grant {schema}_driver to your_driver_user;   -- who drives runs by hand
--   grant {schema}_worker to your_worker_user;
--   grant {schema}_operator to your_admin_user;  -- beside the first: retry, rewind, fork, tag, prune
-- A process that is both gets both. Upgrades of the schema itself remain with its owner (auto_setup = false).
"""

_TAIL = """
-- Worth having where clients and workers log in as different users, and for a superuser to grant: with the first,
-- workers see since when the transactions of others write, and keep their sweeps short while something pins the xmin
-- horizon; with the second they can end the backend of a dead worker that logged in as another user.
-- grant pg_read_all_stats, pg_signal_backend to {schema}_worker;
"""

_ROLE = """
do $$
begin
  if not exists (select 1 from pg_catalog.pg_roles where rolname = '{role}') then
    create role {role} nologin;
  end if;
end $$;
"""
