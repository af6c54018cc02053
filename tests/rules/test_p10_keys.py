"""Rule 10: who holds an idempotency key is looked up in a later statement than the one that takes it.

Shown elsewhere: many starts with one key at once (``tests/store/test_start.py``, ``tests/scenarios/test_starts.py``).
"""

from __future__ import annotations

import asyncio

from holdfast.store.starts import Manner, Start, start_keyed
from tests.rules.change import rewritten, shown
from tests.rules.steering import waits
from tests.store.ground import Ground, new_id

TAKE = """  insert into holdfast.start_key (name, key, run_id, digest, at)
  select s.name, s.key, s.id, s.digest, holdfast.now()
    from unnest(p_ids, p_names, p_keys, p_digests) with ordinality as s (id, name, key, digest, n)
   where s.key is not null
   order by s.name, s.key, s.n
  on conflict do nothing"""

IN_ONE_STATEMENT = rewritten(
    "start_many",
    (f"{TAKE};\n", ""),
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
