"""What a linter finds, and what it was told to pass over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One place in workflow code that may not come out the same on a replay."""

    file: str
    line: int
    column: int
    """From 1."""
    rule: str
    """Which kind it is: ``clock``, ``random``, ``io``, ``network``, ``process``, ``thread``, and so on."""
    what: str
    instead: str
    workflow: str
    """The workflow that comes there; with its version, if it has one."""
    through: Sequence[str] = ()
    """The functions that it comes through, from the workflow's own to the one that the place is in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowed:
    """A finding that a comment ``# holdfast: allow`` silences, and the reason that it gives."""

    finding: Finding
    reason: str
