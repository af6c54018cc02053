"""What runs in a process for activities: one attempt at a time, on its main thread.

Another thread listens. It knows when the attempt is not wanted any more, and ends the process when the worker is gone;
where the kernel can do that too, it is asked to, for code that lets no other thread run.
"""

from __future__ import annotations

import logging
import os
import runpy
import signal
import socket
import sys
import threading
import time
from contextvars import copy_context
from copy import copy
from dataclasses import replace
from queue import SimpleQueue
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

from holdfast.core.errors import RetryAfter
from holdfast.core.failure import Failure
from holdfast.core.remake import type_name
from holdfast.core.seal import Seal
from holdfast.embedded.libc import signal_at_death_of_parent
from holdfast.worker.process.wire import Message, Unpacker, packed
from holdfast.workflow.activity import Activity
from holdfast.workflow.attempted import ActivityInfo, CompletedLater, current_activity
from holdfast.workflow.log_context import LogContext
from holdfast.workflow.reference import Reference

if TYPE_CHECKING:
    from collections.abc import Callable

_PAUSE = 0.05
"""Seconds between two heartbeats that the worker is told of."""

_MAIN = "__mp_main__"
"""What ``__main__`` of the worker is called here, as under multiprocessing: so its guard keeps the script quiet."""


def main() -> None:
    """Works until the worker is gone."""
    fd, parent = int(sys.argv[1]), int(sys.argv[2])
    signal_at_death_of_parent(signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
    # What is sent to all processes of a service or terminal is for the worker to decide. Not ignored: what the code of
    # an activity starts would inherit that.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _nothing)
    del sys.argv[1:]
    Inside(socket.socket(fileno=fd)).run()


class Inside:
    """The process, from inside."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._socket.set_inheritable(False)
        self._sending = threading.Lock()
        self._to_do: SimpleQueue[Message] = SimpleQueue()
        self._main: dict[str, str] | None = None
        self._ended = threading.Event()
        """Whether the attempt that runs is not wanted any more."""

    def run(self) -> None:
        """Does what it is told, for ever: the listening thread ends the process."""
        threading.Thread(target=self._listen, name="holdfast worker", daemon=True).start()
        while True:
            message = self._to_do.get()
            if message["do"] == "prepare":
                self._prepare(message)
            else:
                self._attempt(message)

    def send(self, message: Message) -> None:
        """Says this to the worker."""
        try:
            with self._sending:
                self._socket.sendall(packed(message))
        except OSError:
            # The worker is gone, and with it whoever would want to know.
            os._exit(1)

    def _listen(self) -> None:
        unpacker = Unpacker()
        try:
            while data := self._socket.recv(1 << 18):
                for message in unpacker.feed(data):
                    if message["do"] == "end":
                        self._ended.set()
                    else:
                        if message["do"] == "run":
                            self._ended.clear()
                        self._to_do.put(message)
        finally:
            # Nobody wants anything of this process any more, nor of what it has started.
            if os.getpgrp() == os.getpid():
                os.killpg(os.getpid(), signal.SIGKILL)
            os._exit(1)

    def _prepare(self, message: Message) -> None:
        root = logging.getLogger()
        handler = _Forward(self)
        handler.addFilter(LogContext(worker=message["worker"]))
        root.handlers[:] = [handler]
        root.setLevel(message["level"])
        self._main = message["main"]

    def _attempt(self, message: Message) -> None:
        began = time.monotonic()
        answer: Message
        attempt: _Attempt | None = None
        try:
            activity = self._find(Reference(*message["at"]), message["name"])
            attempt = _Attempt(self, message)
            self.send({"say": "begun"})
            began = time.monotonic()
            output = copy_context().run(attempt.call, activity)
        except CompletedLater:
            answer = {"say": "later"}
        except BaseException as error:
            answer = _failed(error)
        else:
            answer = {"say": "value", "output": output}
        answer["elapsed"] = time.monotonic() - began
        answer["details"] = None if attempt is None else attempt.unsent()
        self.send(answer)

    @property
    def ended(self) -> bool:
        """Whether the attempt that runs is not wanted any more."""
        return self._ended.is_set()

    def _find(self, reference: Reference, name: str) -> Activity[..., Any]:
        if reference.module == "__main__":
            _load_main(self._main or {})
        found = reference.find()
        if isinstance(found, Activity):
            activity: Activity[..., Any] = found  # pyright: ignore[reportUnknownVariableType]
            return activity
        return Activity(cast("Callable[..., Any]", found), name=name)


class _Attempt:
    """What the code of an attempt can ask for."""

    def __init__(self, inside: Inside, message: Message) -> None:
        self._inside = inside
        self._message = message
        self._seal = Seal(limit=message["limit"])
        self._guard = threading.Lock()
        self._held: tuple[str | None, str | None] | None = None
        self._sent_at = float("-inf")
        self._over = False

    def call(self, activity: Activity[..., Any]) -> str:
        """Runs the code, and gives the JSON text of its result."""
        current_activity.set(self)
        args, kwargs = activity.parameters.decode(self._message["input"])
        output, _ = activity.returns.encode(activity.fn(*args, **kwargs))
        return output

    def info(self) -> ActivityInfo:
        """What ``activity_info()`` gives."""
        message = self._message
        return ActivityInfo(
            run_id=UUID(message["run_id"]),
            key=message["key"],
            name=message["name"],
            attempt=message["number"],
            workflow=message["workflow"],
            is_cancelled=lambda: self._inside.ended,
            details_text=message["details"],
            headers=message["headers"],
            origin=None if message["origin"] is None else UUID(message["origin"]),
            home=None if message["home"] is None else UUID(message["home"]),
        )

    def beat(self, details: str | None, progress: str | None = None) -> bool:
        """Tells the worker, now or in a moment: code that says it very often shall not keep the worker busy."""
        if details is not None:
            self._seal.measure(details, what="the details of a heartbeat")
        with self._guard:
            waiting = self._held is not None
            before = self._held or (None, None)
            self._held = (before[0] if details is None else details, before[1] if progress is None else progress)
            if not waiting:
                wait = self._sent_at + _PAUSE - time.monotonic()
                if wait <= 0:
                    self._send()
                else:
                    timer = threading.Timer(wait, self._send_held)
                    timer.daemon = True
                    timer.start()
        return not self._inside.ended

    def unsent(self) -> str | None:
        """What it said last, if the worker does not know it yet; it has ended, and says no more."""
        with self._guard:
            self._over = True
            return None if self._held is None else self._held[0]

    def _send_held(self) -> None:
        with self._guard:
            if self._held is not None and not self._over:
                self._send()

    def _send(self) -> None:
        assert self._held is not None
        self._inside.send({"say": "beat", "details": self._held[0], "progress": self._held[1]})
        self._held = None
        self._sent_at = time.monotonic()


class _Forward(logging.Handler):
    """Gives log records to the worker, which logs them where it logs its own."""

    def __init__(self, inside: Inside) -> None:
        super().__init__()
        self._inside = inside

    def emit(self, record: logging.LogRecord) -> None:
        """Sends what of the record is plain: its message and traceback as text."""
        try:
            whole = copy(record)
            if whole.exc_info and not whole.exc_text:
                whole.exc_text = logging.Formatter().formatException(whole.exc_info)
            whole.msg, whole.args, whole.exc_info = whole.getMessage(), None, None
            plain = {
                name: value
                for name, value in vars(whole).items()
                if value is None or isinstance(value, str | int | float)
            }
            self._inside.send({"say": "log", "record": plain})
        except Exception:
            self.handleError(record)


def _failed(error: BaseException) -> Message:
    return {
        "say": "failure",
        "failure": _at_home(Failure.of(error)).to_json(),
        "bases": [type_name(kind).replace(f"{_MAIN}:", "__main__:") for kind in type(error).__mro__[:-1]],
        "retry_after": error.delay.total_seconds() if isinstance(error, RetryAfter) else None,
    }


def _at_home(failure: Failure) -> Failure:
    """With the names that its classes have in the worker."""
    if failure.cause is None and not failure.type.startswith(f"{_MAIN}:"):
        return failure
    return replace(
        failure,
        type=failure.type.replace(f"{_MAIN}:", "__main__:", 1),
        cause=None if failure.cause is None else _at_home(failure.cause),
    )


def _load_main(main: dict[str, str]) -> None:
    """Makes ``__main__`` here what it is in the worker, once; its ``if __name__ == "__main__"`` is not entered."""
    if _MAIN in sys.modules:
        return
    module = ModuleType(_MAIN)
    sys.modules[_MAIN] = module
    try:
        content = (
            runpy.run_module(main["name"], run_name=_MAIN, alter_sys=True)
            if "name" in main
            else runpy.run_path(main["path"], run_name=_MAIN)
        )
    except BaseException:
        del sys.modules[_MAIN]
        raise
    vars(module).update(content)
    sys.modules["__main__"] = sys.modules[_MAIN] = module


def _nothing(*args: object) -> None:
    del args
