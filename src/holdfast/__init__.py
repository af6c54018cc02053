"""Durable workflows and jobs on the Postgres you already have, in plain asyncio.

This is what users import; everything else is an interior whose names may move.
"""

from holdfast.app import App, Break, Checked, CheckReport, Resource
from holdfast.app.blocking import BlockingClient, BlockingRunHandle, BlockingSchedules
from holdfast.client import (
    Cancellation,
    Client,
    Effect,
    Page,
    Reason,
    Refusal,
    RunDescription,
    RunHandle,
    Runs,
    RunSummary,
    Sample,
    Schedule,
    Schedules,
    ScheduleStatus,
    Tally,
    Why,
)
from holdfast.core.definition import Call
from holdfast.core.errors import (
    AccessDenied,
    ActivityCrashed,
    ActivityFailed,
    ActivityTimedOut,
    BinariesNotFound,
    ChildCancelled,
    ChildFailed,
    ChildTimedOut,
    CompensationFailed,
    ConfigurationError,
    DatabaseError,
    DatabaseUnavailable,
    DefinitionError,
    EmbeddedError,
    ForbiddenInWorkflow,
    GiveUp,
    HoldfastError,
    InvalidInput,
    InvalidSchedule,
    KeyConflict,
    MissingClass,
    NonDeterminismError,
    OperationRefused,
    ResourceClosed,
    ResultTimeout,
    RetryAfter,
    RunCancelled,
    RunEnded,
    RunError,
    RunFailed,
    RunNotFound,
    RunTimedOut,
    ScheduleError,
    ScheduleExists,
    ScheduleNotFound,
    SchemaMismatch,
    TransactionEnded,
    UnknownName,
    Unreadable,
    Unstorable,
    WorkerFenced,
)
from holdfast.core.export import ExportedResult, RunExport
from holdfast.core.retry import Retry
from holdfast.core.schedule import CatchUp, Overlap
from holdfast.core.seal import Codec
from holdfast.core.states import RunStatus
from holdfast.embedded import EmbeddedSettings
from holdfast.integrations.asyncpg import Connection
from holdfast.lint import Allowed, Finding, LintReport
from holdfast.workflow.activity import Activity
from holdfast.workflow.attempted import ActivityInfo, activity_info, heartbeat
from holdfast.workflow.chance import random, uuid4
from holdfast.workflow.clock import now, sleep, sleep_until
from holdfast.workflow.condition import wait_until
from holdfast.workflow.current import run_info
from holdfast.workflow.fan_out import fan_out
from holdfast.workflow.info import RunInfo
from holdfast.workflow.log import get_logger
from holdfast.workflow.patched import patched
from holdfast.workflow.race import First, FirstSignal, first_of, first_signal
from holdfast.workflow.saga import Saga, Undone, saga
from holdfast.workflow.shield import shield
from holdfast.workflow.signal import Signal
from holdfast.workflow.start_child import ChildHandle, start_child
from holdfast.workflow.state import State, set_state
from holdfast.workflow.wait import branch, wait, wait_each, wait_within
from holdfast.workflow.workflow import Workflow

__all__ = [
    "AccessDenied",
    "Activity",
    "ActivityCrashed",
    "ActivityFailed",
    "ActivityInfo",
    "ActivityTimedOut",
    "Allowed",
    "App",
    "BinariesNotFound",
    "BlockingClient",
    "BlockingRunHandle",
    "BlockingSchedules",
    "Break",
    "Call",
    "Cancellation",
    "CatchUp",
    "CheckReport",
    "Checked",
    "ChildCancelled",
    "ChildFailed",
    "ChildHandle",
    "ChildTimedOut",
    "Client",
    "Codec",
    "CompensationFailed",
    "ConfigurationError",
    "Connection",
    "DatabaseError",
    "DatabaseUnavailable",
    "DefinitionError",
    "Effect",
    "EmbeddedError",
    "EmbeddedSettings",
    "ExportedResult",
    "Finding",
    "First",
    "FirstSignal",
    "ForbiddenInWorkflow",
    "GiveUp",
    "HoldfastError",
    "InvalidInput",
    "InvalidSchedule",
    "KeyConflict",
    "LintReport",
    "MissingClass",
    "NonDeterminismError",
    "OperationRefused",
    "Overlap",
    "Page",
    "Reason",
    "Refusal",
    "Resource",
    "ResourceClosed",
    "ResultTimeout",
    "Retry",
    "RetryAfter",
    "RunCancelled",
    "RunDescription",
    "RunEnded",
    "RunError",
    "RunExport",
    "RunFailed",
    "RunHandle",
    "RunInfo",
    "RunNotFound",
    "RunStatus",
    "RunSummary",
    "RunTimedOut",
    "Runs",
    "Saga",
    "Sample",
    "Schedule",
    "ScheduleError",
    "ScheduleExists",
    "ScheduleNotFound",
    "ScheduleStatus",
    "Schedules",
    "SchemaMismatch",
    "Signal",
    "State",
    "Tally",
    "TransactionEnded",
    "Undone",
    "UnknownName",
    "Unreadable",
    "Unstorable",
    "Why",
    "WorkerFenced",
    "Workflow",
    "activity_info",
    "branch",
    "fan_out",
    "first_of",
    "first_signal",
    "get_logger",
    "heartbeat",
    "now",
    "patched",
    "random",
    "run_info",
    "saga",
    "set_state",
    "shield",
    "sleep",
    "sleep_until",
    "start_child",
    "uuid4",
    "wait",
    "wait_each",
    "wait_until",
    "wait_within",
]
