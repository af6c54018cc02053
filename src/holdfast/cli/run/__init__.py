"""``holdfast run``: starting runs, sending to them, and looking at them.

One file for each thing that is done; ``view`` is the documented JSON form of a run, ``timeline`` the drawing of one.
Uses the client only, so everything here can be done in Python too.
"""

from holdfast.cli.run.group import run

__all__ = ["run"]
