"""What happened in a schedule, line by line; two runs of one seed have the same."""

from __future__ import annotations

import hashlib


class Trace:
    """Lines, and a digest of all of them."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def add(self, line: str) -> None:
        """One more line."""
        self.lines.append(line)

    @property
    def digest(self) -> str:
        """The same for the same lines."""
        return hashlib.sha256("\n".join(self.lines).encode()).hexdigest()[:16]

    def difference(self, other: Trace) -> str | None:
        """Where another trace is different for the first time, with what came before; None if it is the same."""
        pairs = list(zip(self.lines, other.lines, strict=False))
        for number, (one, two) in enumerate(pairs):
            if one != two:
                before = "\n".join(self.lines[max(0, number - 8) : number])
                return f"line {number}:\n{before}\n- {one}\n+ {two}"
        if len(self.lines) != len(other.lines):
            longer = max(self.lines, other.lines, key=len)
            return f"line {len(pairs)}: one ends, the other goes on with\n{longer[len(pairs)]}"
        return None
