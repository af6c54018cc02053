"""One colour for each status."""

from __future__ import annotations

from holdfast.core.states import RunStatus

COLOURS: dict[RunStatus, str] = {
    RunStatus.SCHEDULED: "cyan",
    RunStatus.READY: "cyan",
    RunStatus.ASSIGNED: "blue",
    RunStatus.RUNNING: "blue",
    RunStatus.WAITING: "magenta",
    RunStatus.PAUSED: "yellow",
    RunStatus.BLOCKED: "bold yellow",
    RunStatus.SUCCEEDED: "green",
    RunStatus.FAILED: "bold red",
    RunStatus.CANCELLED: "red",
    RunStatus.CONTINUED: "green",
}
