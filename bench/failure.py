"""What a scenario fails with."""

from __future__ import annotations


class BenchFailed(Exception):
    """A scenario could not be run, or runs were lost in it: its figures mean nothing."""
