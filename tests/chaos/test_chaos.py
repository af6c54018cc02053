"""A short piece of chaos, from end to end. The long ones are ``./dev chaos``."""

from __future__ import annotations

import asyncio
import sys

from tests.house import ROOT


async def test_a_few_seconds_of_it_lose_and_double_nothing() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "tests.chaos", "--minutes", "0.2", "--seed", "1", "--workers", "2", "--rate", "5"),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(150):
            out, said = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode == 0, out.decode() + said.decode()
    assert "nothing is lost and nothing is doubled" in out.decode()
