"""What the command's exit codes mean; part of its public contract."""

from __future__ import annotations

from enum import IntEnum

from holdfast.core.errors import (
    ConfigurationError,
    DatabaseError,
    DefinitionError,
    EmbeddedError,
    HoldfastError,
    InvalidInput,
    InvalidSchedule,
    ReplyTimeout,
    ResultTimeout,
    RunNotFound,
    ScheduleNotFound,
    WorkerNotFound,
)


class ExitCode(IntEnum):
    """The exit codes of ``holdfast``, each with its meaning."""

    OK = 0
    REFUSED = 1
    USAGE = 2
    DATABASE = 3
    NOT_FOUND = 4
    NOT_ENDED = 5
    INTERRUPTED = 130

    @property
    def meaning(self) -> str:
        """In words, for the help page."""
        return _MEANINGS[self]

    @classmethod
    def of(cls, error: HoldfastError) -> ExitCode:
        """The exit code for this error."""
        for kinds, code in _ERRORS:
            if isinstance(error, kinds):
                return code
        return cls.REFUSED


_MEANINGS = {
    ExitCode.OK: "all went well",
    ExitCode.REFUSED: "the run failed or was cancelled, or what was asked for was refused, or a check found a fault",
    ExitCode.USAGE: "the options, the settings or the app cannot work",
    ExitCode.DATABASE: "the database cannot be reached or used",
    ExitCode.NOT_FOUND: "there is no such run, schedule or worker",
    ExitCode.NOT_ENDED: "the run or worker has not ended, answered or obeyed within the time given; it goes on",
    ExitCode.INTERRUPTED: "interrupted with Ctrl-C",
}

_ERRORS: tuple[tuple[tuple[type[HoldfastError], ...], ExitCode], ...] = (
    ((ConfigurationError, DefinitionError, InvalidInput, InvalidSchedule), ExitCode.USAGE),
    ((DatabaseError, EmbeddedError), ExitCode.DATABASE),
    ((RunNotFound, ScheduleNotFound, WorkerNotFound), ExitCode.NOT_FOUND),
    ((ResultTimeout, ReplyTimeout), ExitCode.NOT_ENDED),
)
