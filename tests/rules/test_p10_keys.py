"""Rule 10: who holds an idempotency key is looked up in a later statement than the one that takes it.

Shown elsewhere: many starts with one key at once (``tests/store/test_start.py``, ``tests/scenarios/test_starts.py``).
"""

from __future__ import annotations

import asyncio

from holdfast.store.starts import KeyTerms, Manner, Start, start_keyed
from tests.rules.change import rewritten, shown
from tests.rules.steering import waits
from tests.store.ground import Ground, new_id

TAKE = """  insert into holdfast.start_key (name, key, run_id, digest, at, until, while_open)
  select s.name, s.key, s.id, s.digest, holdfast.now(), holdfast.now() + s.span, coalesce(s.open, false)
    from unnest(p_ids, p_names, p_keys, p_digests, p_windows, p_open) with ordinality
         as s (id, name, key, digest, span, open, n)
   where s.key is not null
   order by s.name, s.key, s.n
  on conflict do nothing"""

IN_ONE_STATEMENT = rewritten(
    "start_many",
    (f"{TAKE};\n  get diagnostics v_new = row_count;\n", "  v_new := cardinality(array_remove(p_keys, null));\n"),
    ("  with asked as materialized (\n", f"  with taken as (\n{TAKE}\n  ), asked as materialized (\n"),
)


@shown((True, 1), a_second_statement=(IN_ONE_STATEMENT, (False, 2)))
async def test_p10_who_came_second_is_given_the_run_of_the_first(ground: Ground, expected: object) -> None:
    manner = Manner(1, "flow", "default", 3, None, None, None, None)
    first, second = [Start(new_id(), "{}", manner, "order-7", b"digest") for _ in range(2)]
    one, two = await ground.more(), await ground.more()
    transaction = one.connection.transaction()
    await transaction.start()
    await start_keyed(one, [first], hint=False)
    starting = asyncio.ensure_future(start_keyed(two, [second], hint=False))
    assert await waits(ground, two, starting)
    await transaction.commit()
    (started,) = await starting
    assert (started.id == first.id, await ground.value("select count(*) from holdfast.run")) == expected


UNLOCKED = rewritten(
    "take_keys",
    ("    order by k.name, k.key\n      for update of k;", "    order by k.name, k.key;"),
    ("         and k.key = v_start.key\n         for update;", "         and k.key = v_start.key;"),
)


@shown((1, 1), the_lock=(UNLOCKED, (2, 2)))
async def test_p10_a_key_whose_time_is_over_is_taken_by_one(ground: Ground, expected: object) -> None:
    manner = Manner(1, "flow", "default", 3, None, None, None, None)
    terms = KeyTerms(None, while_open=True, taken=0)
    last, first, second = [Start(new_id(), "{}", manner, "order-7", b"digest", None, terms) for _ in range(3)]
    await start_keyed(ground.session, [last], hint=False)
    await ground.execute("select holdfast.cancel($1)", last.id)
    # Both have found the key taken before either looks whether its time is over.
    other, one, two = [await ground.more() for _ in range(3)]
    transaction = other.connection.transaction()
    await transaction.start()
    await other.connection.execute("select from holdfast.start_key for update")
    starting = [
        asyncio.ensure_future(start_keyed(session, [start], hint=False))
        for session, start in ((one, first), (two, second))
    ]
    assert await waits(ground, one, starting[0])
    assert await waits(ground, two, starting[1])
    await transaction.commit()
    made = {started.id for (started,) in await asyncio.gather(*starting)}
    assert (len(made), await ground.value("select count(*) from holdfast.task")) == expected
