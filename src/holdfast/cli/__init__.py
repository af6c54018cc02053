"""The door: the command ``holdfast``, for people at a terminal and for scripts (``--json``, exit codes).

Here live the commands, what they print, and the demo. It may import everything; nothing imports it. It holds no rules
of its own about runs: each command is a call of the app, the client or the store, and a way to show the answer.
"""

from holdfast.cli.main import main

__all__ = ["main"]
