"""Flushes once more, where the tables are divided by day. So do all tests with ``--partitioned``."""

# ruff: noqa: F403

from __future__ import annotations

from tests.store.test_flush import *
