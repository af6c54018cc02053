"""The rules of the engine once more, where the tables are divided by day. So do all tests with ``--partitioned``."""

# ruff: noqa: F403

from __future__ import annotations

from tests.rules.test_p01_fence import *
from tests.rules.test_p05_resending import *
from tests.rules.test_p10_keys import *
from tests.rules.test_p11_recovery import *
