"""What talks to runs from outside: it starts, signals, cancels, awaits and inspects them, and never executes one.

Clients share nothing; each has a few connections, one waiter for all the results that it waits for, and sends
concurrent starts together. Nothing here decides anything about a run: that is done in the database and by workers.
This folder may import ``store`` and what lies below it.
"""

from holdfast.client.client import Client
from holdfast.client.consumer import Consumer
from holdfast.client.consumer_info import ConsumerInfo
from holdfast.client.dead_letters import DeadLetter, DeadLetters
from holdfast.client.description import AttemptView, LetterView, RunDescription, Sealed, StepView
from holdfast.client.driven import Driven, DrivenConsumer, DrivenRun, Step, StepStatus
from holdfast.client.exporting import Sample
from holdfast.client.handle import RunHandle
from holdfast.client.limits import Limits, LimitSummary
from holdfast.client.listing import Page, RunSummary
from holdfast.client.message import Message
from holdfast.client.operations import Effect
from holdfast.client.overview import Line, Overview, Rates
from holdfast.client.queue import Queue
from holdfast.client.queue_view import MessageView, QueueMetrics
from holdfast.client.queues import Queues
from holdfast.client.records import Records
from holdfast.client.schedule import Schedule, ScheduleStatus
from holdfast.client.schedules import Schedules
from holdfast.client.selection import Refusal, Runs, Tally
from holdfast.client.sending import Cancellation
from holdfast.client.starting import Starting
from holdfast.client.why import Reason, Why
from holdfast.client.workers import WorkerAnswer, WorkerBucket, Workers, WorkerStatus, WorkerSummary

__all__ = [
    "AttemptView",
    "Cancellation",
    "Client",
    "Consumer",
    "ConsumerInfo",
    "DeadLetter",
    "DeadLetters",
    "Driven",
    "DrivenConsumer",
    "DrivenRun",
    "Effect",
    "LetterView",
    "LimitSummary",
    "Limits",
    "Line",
    "Message",
    "MessageView",
    "Overview",
    "Page",
    "Queue",
    "QueueMetrics",
    "Queues",
    "Rates",
    "Reason",
    "Records",
    "Refusal",
    "RunDescription",
    "RunHandle",
    "RunSummary",
    "Runs",
    "Sample",
    "Schedule",
    "ScheduleStatus",
    "Schedules",
    "Sealed",
    "Starting",
    "Step",
    "StepStatus",
    "StepView",
    "Tally",
    "Why",
    "WorkerAnswer",
    "WorkerBucket",
    "WorkerStatus",
    "WorkerSummary",
    "Workers",
]
