"""Reading workflow code without executing it, for what would not come out the same on a replay.

It follows calls into functions of the same package, and takes names for what they are in the loaded modules; it calls
nothing of the user's. What is looked for is data, in ``rules``. This folder may import ``core`` and nothing else.
"""

from holdfast.lint.finding import Allowed, Finding
from holdfast.lint.linter import LintReport, lint

__all__ = ["Allowed", "Finding", "LintReport", "lint"]
