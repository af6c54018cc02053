"""What has to be done now and then, by any worker process and by one at a time: schedules, retention, days.

Its services run beside the worker of their process, and are strangers to it: what each has to know of the other is
handed over by the app. Who gets to do something is decided in the database; nothing here holds runs or has a lease. It
may import ``store`` and what lies below it.
"""

from holdfast.upkeep.census import CodeSchedule
from holdfast.upkeep.days import Days
from holdfast.upkeep.retention import Retention
from holdfast.upkeep.scheduler import Scheduler

__all__ = ["CodeSchedule", "Days", "Retention", "Scheduler"]
