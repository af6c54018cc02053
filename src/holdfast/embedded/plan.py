"""What a client asks of the supervisor that it starts."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from holdfast.embedded.account import Ids

SUPERUSER = "postgres"
DATABASE = "postgres"

# In every directory that we make around a home. It keeps the data out of git, and tells it from a directory of others.
OWN_MARK = ".gitignore"
OWN_MARK_TEXT = "# made by holdfast\n*\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Everything that a supervisor needs to know; it looks nothing up for itself."""

    home: Path
    runtime: Path
    bin_dir: Path
    version: str
    major: int
    owner: Ids
    server: Ids
    founder: Ids
    peers: tuple[str, ...]
    durability: str
    temporary: bool
    options: dict[str, str]
    start_timeout: float
    stop_timeout: float

    @property
    def cluster(self) -> Path:
        """The data directory in the sense of Postgres."""
        return self.home / "cluster"

    @property
    def socket_dir(self) -> Path:
        """The directory of the server's socket."""
        return self.runtime / "run"

    @property
    def control(self) -> Path:
        """The socket on which the supervisor takes clients."""
        return self.runtime / "control"

    @property
    def family_lock(self) -> Path:
        """Held by every process that works on the data."""
        return self.home / "postgres.lock"

    @property
    def log(self) -> Path:
        """The log of the server and of its supervisor."""
        return self.home / "postgres.log"

    @property
    def temporary_mark(self) -> Path:
        """A file that is there as long as the data may be cleared away."""
        return self.home / "temporary"

    @property
    def private(self) -> bool:
        """Whether the server runs as somebody else than its owner."""
        return self.server != self.owner

    def to_json(self) -> str:
        """This plan as one line."""
        return json.dumps(asdict(self), default=str)

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """The plan that ``to_json`` wrote."""
        data: dict[str, Any] = json.loads(text)
        for name in ("home", "runtime", "bin_dir"):
            data[name] = Path(data[name])
        for name in ("owner", "server", "founder"):
            data[name] = Ids(**data[name])
        data["peers"] = tuple(data["peers"])
        return cls(**data)
