"""What the README shows is what happens."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path

from tests.house import ROOT, House

EXAMPLE = re.compile(r"`onboarding\.py`:\n\n```python\n(.*?)```", re.DOTALL)


async def test_the_first_example_starts_a_run_and_signals_it(house: House, tmp_path: Path) -> None:
    found = EXAMPLE.search((ROOT / "README.md").read_text(encoding="utf-8"))
    assert found is not None
    (tmp_path / "onboarding.py").write_text(found[1], encoding="utf-8")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "onboarding.py"),
        cwd=tmp_path,
        env={**os.environ, "HOLDFAST_DATABASE_URL": house.dsn},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert (process.returncode, err) == (0, b"")
    run, status = out.decode().split()
    assert status == "ready"
    assert await house.value("select name from holdfast.run where id = $1", run) == "trial-onboarding"
    assert await house.value("select count(*) from holdfast.inbox where run_id = $1", run) == 1
