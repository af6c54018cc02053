"""Starting the supervisor as a process that belongs to nobody."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

from holdfast.core.errors import EmbeddedError
from holdfast.embedded.plan import Plan

_PROGRAM = Path(__file__).with_name("bootstrap.py")


def launch(plan: Plan) -> socket.socket:
    """Starts a supervisor for this plan; our end of the connection over which it reports, and which is our lease.

    Raises:
        EmbeddedError: There is no Python to run it with.
    """
    if not sys.executable:
        raise EmbeddedError("this Python does not know its own program (sys.executable), which the supervisor needs")
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with theirs:
            number = theirs.fileno()
            subprocess.run(
                # The home is for people who look at the list of processes.
                [sys.executable, "-I", "-S", _PROGRAM, str(number), plan.home],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[number],
                start_new_session=True,
                check=True,
                cwd="/",
            )
        ours.sendall(plan.to_json().encode() + b"\n")
    except subprocess.CalledProcessError as error:
        ours.close()
        raise EmbeddedError(
            f"the supervisor of the embedded Postgres cannot be started: {sys.executable} ended with exit code "
            f"{error.returncode}"
        ) from error
    except OSError as error:
        ours.close()
        raise EmbeddedError(f"the supervisor of the embedded Postgres cannot be started: {error}") from error
    return ours
