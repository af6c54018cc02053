"""Keeping what runs for long alive, and ending it in order: back-off, and a fleet of processes with their leash.

It may import ``core`` and the standard library only. It knows nothing of databases or runs: what has to be done when a
process died is handed in from above.
"""

from holdfast.supervise.fleet import Death, Fleet
from holdfast.supervise.leash import Leash, follow_leash

__all__ = ["Death", "Fleet", "Leash", "follow_leash"]
