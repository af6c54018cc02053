"""What is measured, once per repetition, and what it should be."""

from __future__ import annotations

import statistics
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One quantity, with a value from each repetition."""

    name: str
    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """The one in the middle."""
        return statistics.median(self.values)

    @property
    def spread(self) -> tuple[float, float]:
        """The least and the most."""
        return min(self.values), max(self.values)

    def over(self, name: str, other: Figure) -> Figure:
        """This figure divided by the other, repetition by repetition."""
        pairs = zip(self.values, other.values, strict=True)
        return Figure(name=name, values=tuple(mine / theirs for mine, theirs in pairs))


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What the median of a figure should be: at least, or at most, so much."""

    figure: str
    least: float | None = None
    most: float | None = None
    remark: str = ""

    def is_reached(self, value: float) -> bool:
        """Whether this value is good enough."""
        return (self.least is None or value >= self.least) and (self.most is None or value <= self.most)

    def __str__(self) -> str:
        bounds = [f"{sign} {show(bound)}" for sign, bound in (("≥", self.least), ("≤", self.most)) if bound is not None]
        return " ".join([*bounds, *([f"({self.remark})"] if self.remark else [])])


def show(value: float) -> str:
    """A number with three digits that matter, or all of those before the point."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
