"""Isolation levels of Postgres."""

from __future__ import annotations

from typing import Literal, TypeAlias

IsolationLevel: TypeAlias = Literal["read committed", "repeatable read", "serializable"]
"""Of a transaction; higher ones fail with a serialization error where they cannot hold, and are tried again."""

ISOLATION_LEVELS: tuple[IsolationLevel, ...] = ("read committed", "repeatable read", "serializable")
