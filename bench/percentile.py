"""Percentiles of a sample."""

from __future__ import annotations

from collections.abc import Sequence


def percentile(ordered: Sequence[float], part: float) -> float:
    """The value that this part of them does not exceed; they are in ascending order."""
    return ordered[max(0, min(len(ordered) - 1, round(part * len(ordered)) - 1))]
