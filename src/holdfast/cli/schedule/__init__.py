"""``holdfast schedule``: making schedules, looking at them, and letting them rest.

``view`` is the documented JSON form of a schedule. Uses the client only, so everything here can be done in Python too.
"""

from holdfast.cli.schedule.group import schedule

__all__ = ["schedule"]
