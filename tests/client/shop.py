"""What the client's tests start: definitions without a worker, and runs that are ended by hand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeAlias
from uuid import UUID

import asyncpg

from holdfast.client import Client
from holdfast.client.parts import Parts
from holdfast.core.definition import Definition
from holdfast.core.failure import Failure
from holdfast.core.seal import Codec, Seal
from holdfast.core.states import Ending, Flag
from holdfast.store.statements import Statements
from holdfast.workflow.activity import Activity
from holdfast.workflow.signal import Signal
from holdfast.workflow.workflow import Workflow

LIMIT = 10_000
"""The payload limit in these tests."""


@dataclass
class Signup:
    company: str
    seats: int


@dataclass
class Receipt:
    number: int


class CardDeclined(Exception):
    """Raised by workflows of these tests."""


async def _onboard(signup: Signup, plan: str = "free") -> Receipt:
    raise NotImplementedError


async def _nothing() -> None:
    raise NotImplementedError


async def _charge(amount: int) -> str:
    raise NotImplementedError


onboard = Workflow(_onboard, name="onboard")
nothing = Workflow(_nothing, name="nothing")
charge = Activity(_charge, name="charge")
upgrade = Signal[Receipt]("upgrade")

DEFINITIONS: Mapping[str, Definition[..., Any]] = {one.name: one for one in (onboard, nothing, charge)}

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


def client_of(
    dsn: str,
    *,
    definitions: Mapping[str, Definition[..., Any]] = DEFINITIONS,
    codec: Codec | None = None,
    **options: Any,
) -> Client:
    """A client, to be opened."""
    seal = Seal(codec, LIMIT)
    return Client(Parts(dsn=dsn, statements=Statements(), seal=seal, definitions=definitions, **options))


async def count(db: Connection, table: str = "run") -> int:
    """How many rows are in this table."""
    return int(await db.fetchval(f"select count(*) from holdfast.{table}"))


async def end(
    db: Connection,
    run_id: UUID,
    ending: Ending = Ending.SUCCEEDED,
    *,
    output: str | None = None,
    failure: Failure | None = None,
    hint: bool = False,
) -> None:
    """Ends a run as a worker would, in one commit; and tells who listens, in another."""
    error = None if failure is None else failure.to_json()
    await db.execute(
        """
        with ended as (delete from holdfast.task where run_id = $1 returning run_id, first_claim_at)
        insert into holdfast.result (run_id, at, first_claim_at, status, output, error)
        select run_id, holdfast.now(), first_claim_at, $2, $3::text::json, $4::text::json from ended
        """,
        run_id,
        ending,
        output,
        error,
    )
    if hint:
        await db.execute("select pg_notify('holdfast', $1)", f"end {run_id}")


async def end_all(db: Connection, output: str) -> None:
    """Ends every run that is open, with success."""
    await db.execute(
        """
        with ended as (delete from holdfast.task returning run_id, first_claim_at)
        insert into holdfast.result (run_id, at, first_claim_at, status, output)
        select run_id, holdfast.now(), first_claim_at, 1, $1::text::json from ended
        """,
        output,
    )


async def park(
    db: Connection,
    run_id: UUID,
    *,
    due_in: timedelta | None = None,
    waits: bool = False,
    flags: int = 0,
    bucket: int | None = None,
) -> None:
    """Makes a run look begun, and parked until then or for ever; or held by a bucket."""
    await db.execute(
        """
        update holdfast.task
           set first_claim_at = holdfast.now(), hold = 1, waits_inbox = $3, flags = $4, bucket_id = $5,
               due_at = case when $5::bigint is not null then holdfast.now()
                             else coalesce(holdfast.now() + $2::interval, 'infinity') end
         where run_id = $1
        """,
        run_id,
        due_in,
        waits,
        flags,
        bucket,
    )
    if flags & Flag.BLOCKED:
        await db.execute(
            "insert into holdfast.blockage (run_id, reason, at) values ($1, 'the code has changed', holdfast.now())",
            run_id,
        )


class Cipher:
    """A codec: each byte turned over."""

    def encode(self, data: bytes) -> bytes:
        return bytes(255 - byte for byte in data)

    def decode(self, data: bytes) -> bytes:
        return bytes(255 - byte for byte in data)
