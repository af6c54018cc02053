"""What an event loop can do and a workflow cannot: each refused with what to use instead."""

from __future__ import annotations

import asyncio
from typing import Any, Never

from holdfast.core.errors import ForbiddenInWorkflow

_ACTIVITY = "do it in an activity"
_TASK = "the run is driven by its worker"


def _forbidden(name: str, instead: str = _ACTIVITY) -> Any:
    def refuse(self: object, *args: object, **kwargs: object) -> Never:
        del self, args, kwargs
        raise ForbiddenInWorkflow(f"loop.{name}() cannot be replayed, so workflow code cannot use it: {instead}")

    refuse.__name__ = refuse.__qualname__ = name
    return refuse


class Forbidding(asyncio.AbstractEventLoop):
    """An event loop that refuses everything that reaches beyond the run."""

    # The lifetime of the loop is not the workflow's business.
    run_forever = _forbidden("run_forever", _TASK)
    run_until_complete = _forbidden("run_until_complete", "await the coroutine")
    stop = _forbidden("stop", "return from the workflow")
    close = _forbidden("close", "return from the workflow")
    shutdown_asyncgens = _forbidden("shutdown_asyncgens", _TASK)
    shutdown_default_executor = _forbidden("shutdown_default_executor", _TASK)
    set_debug = _forbidden("set_debug", "test workflows with the debug mode of the test's own loop")
    set_task_factory = _forbidden("set_task_factory", "tasks of a workflow are made by its own loop")
    set_exception_handler = _forbidden("set_exception_handler", "handle errors where they are awaited")

    # Threads.
    call_soon_threadsafe = _forbidden("call_soon_threadsafe", "send the run a signal")
    run_in_executor = _forbidden("run_in_executor", "call an activity; one that is not async runs in a thread")
    set_default_executor = _forbidden(
        "set_default_executor", "call an activity; one that is not async runs in a thread"
    )

    # Network.
    getaddrinfo = _forbidden("getaddrinfo")
    getnameinfo = _forbidden("getnameinfo")
    create_connection = _forbidden("create_connection")
    create_server = _forbidden("create_server")
    create_unix_connection = _forbidden("create_unix_connection")
    create_unix_server = _forbidden("create_unix_server")
    create_datagram_endpoint = _forbidden("create_datagram_endpoint")
    connect_accepted_socket = _forbidden("connect_accepted_socket")
    start_tls = _forbidden("start_tls")
    sendfile = _forbidden("sendfile")
    add_reader = _forbidden("add_reader")
    remove_reader = _forbidden("remove_reader")
    add_writer = _forbidden("add_writer")
    remove_writer = _forbidden("remove_writer")
    sock_recv = _forbidden("sock_recv")
    sock_recv_into = _forbidden("sock_recv_into")
    sock_recvfrom = _forbidden("sock_recvfrom")
    sock_recvfrom_into = _forbidden("sock_recvfrom_into")
    sock_sendall = _forbidden("sock_sendall")
    sock_sendto = _forbidden("sock_sendto")
    sock_connect = _forbidden("sock_connect")
    sock_accept = _forbidden("sock_accept")
    sock_sendfile = _forbidden("sock_sendfile")

    # Processes, pipes and signals of the operating system.
    subprocess_shell = _forbidden("subprocess_shell")
    subprocess_exec = _forbidden("subprocess_exec")
    connect_read_pipe = _forbidden("connect_read_pipe")
    connect_write_pipe = _forbidden("connect_write_pipe")
    add_signal_handler = _forbidden("add_signal_handler", "wait for a Signal of the run")
    remove_signal_handler = _forbidden("remove_signal_handler", "wait for a Signal of the run")
