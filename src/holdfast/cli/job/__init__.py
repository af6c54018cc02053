"""``holdfast job``: starting jobs, looking at them, moving and ending them.

A job is a run of a single activity, so each command is that of ``holdfast run``, for jobs alone.
"""

from holdfast.cli.job.group import job

__all__ = ["job"]
