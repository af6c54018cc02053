"""Runs that are driven by hand: where they stand."""

from __future__ import annotations


def line_of(lane: str, workflow: str) -> str:
    """The line of its lane in which the runs of a workflow stand, where no worker looks."""
    return f"{lane} driven {workflow}"
