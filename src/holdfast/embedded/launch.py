"""Starting the supervisor as a process that belongs to nobody."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import holdfast
from holdfast.core.errors import EmbeddedError
from holdfast.embedded.plan import Plan

# The folders stand in for the packages, so that their ``__init__`` with all that it imports is not run: the supervisor
# needs a few files of this folder and the standard library, and is up in a fraction of the time.
_BOOTSTRAP = """\
import sys, types
root = sys.argv.pop(1)
for name in ("holdfast", "holdfast.core", "holdfast.embedded"):
    package = types.ModuleType(name)
    package.__path__ = [root + name.removeprefix("holdfast").replace(".", "/")]
    sys.modules[name] = package
from holdfast.embedded.supervisor import main
main()
"""


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
                [sys.executable, "-I", "-S", "-c", _BOOTSTRAP, str(_package_dir()), str(number)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[number],
                start_new_session=True,
                check=True,
                cwd="/",
            )
        ours.sendall(plan.to_json().encode() + b"\n")
    except (OSError, subprocess.SubprocessError) as error:
        ours.close()
        raise EmbeddedError(f"the supervisor of the embedded Postgres cannot be started: {error}") from error
    return ours


def _package_dir() -> Path:
    return Path(holdfast.__path__[0]).resolve()
