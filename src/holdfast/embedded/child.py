"""Starting a program of Postgres from the supervisor."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import IO

from holdfast.embedded.account import Ids
from holdfast.embedded.deathbond import die_with_parent


@dataclass(frozen=True, slots=True, kw_only=True)
class Footing:
    """What every program of Postgres starts on: its ids if they are not ours, and its environment."""

    ids: Ids | None
    environment: dict[str, str]


def start_program(
    command: Sequence[str],
    footing: Footing,
    *,
    output: IO[bytes] | int,
    deadly: signal.Signals,
    inherited: Collection[int] = (),
) -> subprocess.Popen[bytes]:
    """Starts a program in a session of its own that gets ``deadly`` when we die.

    It has no other files open than its output and those ``inherited``, and no other groups than that of its ids.
    """
    ids = footing.ids
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        cwd="/",
        env=footing.environment,
        pass_fds=inherited,
        start_new_session=True,
        user=ids.uid if ids else None,
        group=ids.gid if ids else None,
        extra_groups=[] if ids else None,
        # Called after the change of ids, as the bond demands. We have one thread, so it is safe.
        preexec_fn=die_with_parent(deadly),  # noqa: PLW1509
    )
