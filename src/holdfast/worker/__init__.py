"""A worker: leases buckets, claims due runs, executes them, and writes what they want written in group commits.

One ``Worker`` has one ``Tenure`` after another: the time of one identity, from its registration until it leaves or is
fenced. It may import ``workflow`` and what lies below; it contains no SQL and knows nothing of the app above it.
"""

from holdfast.worker.companion import Companion
from holdfast.worker.roof import Roof
from holdfast.worker.worker import Worker

__all__ = ["Companion", "Roof", "Worker"]
