"""The client for code that is not async: scripts, Django, Flask.

One bridge, over the verbs of the async client: ``bridge.py`` has the loop in a thread of its own, the other files are
written by a program from the async classes (``./dev write``), so that nobody keeps two sets of verbs in step. Nothing
here knows what a verb does.
"""

from holdfast.app.blocking.bridge import Bridge
from holdfast.app.blocking.client import BlockingClient
from holdfast.app.blocking.consumer import BlockingConsumer
from holdfast.app.blocking.dead_letters import BlockingDeadLetters
from holdfast.app.blocking.driven import BlockingDriven
from holdfast.app.blocking.driven_consumer import BlockingDrivenConsumer
from holdfast.app.blocking.driven_run import BlockingDrivenRun
from holdfast.app.blocking.driven_step import BlockingStep
from holdfast.app.blocking.handle import BlockingRunHandle
from holdfast.app.blocking.limits import BlockingLimits
from holdfast.app.blocking.message import BlockingMessage
from holdfast.app.blocking.queue import BlockingQueue, BlockingQueues
from holdfast.app.blocking.records import BlockingRecords
from holdfast.app.blocking.runs import BlockingRuns
from holdfast.app.blocking.schedules import BlockingSchedules
from holdfast.app.blocking.workers import BlockingWorkers

__all__ = [
    "BlockingClient",
    "BlockingConsumer",
    "BlockingDeadLetters",
    "BlockingDriven",
    "BlockingDrivenConsumer",
    "BlockingDrivenRun",
    "BlockingLimits",
    "BlockingMessage",
    "BlockingQueue",
    "BlockingQueues",
    "BlockingRecords",
    "BlockingRunHandle",
    "BlockingRuns",
    "BlockingSchedules",
    "BlockingStep",
    "BlockingWorkers",
    "Bridge",
]
