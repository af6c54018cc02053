"""``holdfast db partition``."""

from __future__ import annotations

import click

from holdfast.app.database import reach_database
from holdfast.cli.options import Door, with_door
from holdfast.store.connect import connect, translated
from holdfast.store.partitions import AHEAD, make_days, partition_by_day, read_partition_state
from holdfast.store.session import Session


@click.command()
@click.option("--by", type=click.Choice(["day"]), required=True, help="How the tables are divided.")
@click.option(
    "--ahead", type=click.IntRange(1, 365), default=AHEAD, metavar="DAYS", help=f"Days made now.  [default: {AHEAD}]"
)
@with_door()
async def partition(door: Door, *, by: str, ahead: int) -> None:
    """Divide what is recorded of runs by day, so that old days go as a whole; or make the days that are missing.

    \b
      holdfast db partition --by day
      holdfast db partition --by day --ahead 30

    For good. What is there already becomes one partition as it is: it is read once, and until that is done everybody
    waits. Workers make the days to come. Only the owner of the schema can.
    JSON: {"divided", "made": ["2026-11-21"], "first_day", "last_day", "past", "strays"}
    """  # noqa: D301 - \b keeps click from wrapping the examples
    assert by == "day"
    async with reach_database(door.app_as_it_is.settings()) as database:
        connection = await connect(database.dsn, application="holdfast db partition")
        try:
            async with translated(database.dsn):
                session = Session(connection, database.statements)
                divided = await partition_by_day(session)
                made = await make_days(session, ahead=ahead)
                state = await read_partition_state(session)
        finally:
            await connection.close()
    days = f"the days from {state.first_day} to {state.last_day} have tables" if state.last_day else "no day has tables"
    door.out.answer(
        {
            "divided": divided,
            "made": [str(day) for day in made],
            "first_day": None if state.first_day is None else str(state.first_day),
            "last_day": None if state.last_day is None else str(state.last_day),
            "past": state.past,
            "strays": state.strays,
        },
        f"{'divided by day' if divided else 'divided by day before'}: {days}, {len(made)} of them made now",
    )
