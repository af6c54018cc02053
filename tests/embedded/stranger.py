"""What another user of this machine needs to run a guest: a Python, our sources and the programs, all within reach."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from holdfast.embedded.account import Ids
from holdfast.embedded.binaries import find_binaries
from holdfast.embedded.copy import reachable_binaries
from tests.embedded.guest import PROGRAM, SOURCE


@dataclass(frozen=True)
class Stranger:
    """An ordinary account that is not ours."""

    name: str
    ids: Ids
    python: Path
    source: Path
    program: Path
    bin_dir: Path

    def how(self, uid: int | None = None) -> dict[str, Any]:
        """How to start a guest as this user, or as an account without a name."""
        who: dict[str, Any] = {"uid": uid} if uid else {"user": self.name}
        return {**who, "python": self.python, "source": self.source, "program": self.program}

    def runs(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs a Python program as this user."""
        return subprocess.run(
            [self.python, "-c", program, *arguments],
            capture_output=True,
            text=True,
            cwd="/",
            user=self.ids.uid,
            group=self.ids.gid,
            extra_groups=[],
            check=False,
        )

    def makes(self, directory: Path, mode: int = 0o755) -> Path:
        """A directory of this user."""
        directory.mkdir()
        directory.chmod(mode)
        os.chown(directory, self.ids.uid, self.ids.gid)
        return directory


def find_stranger(place: Path) -> Stranger:
    entry = next(entry for entry in pwd.getpwall() if entry.pw_name in ("games", "daemon", "mail"))
    ids = Ids(uid=entry.pw_uid, gid=entry.pw_gid)
    source = place / "source" / "holdfast"
    for part in ("core/errors.py", "embedded"):
        target = source / part
        target.parent.mkdir(parents=True, exist_ok=True)
        if (SOURCE / part).is_dir():
            shutil.copytree(SOURCE / part, target)
        else:
            shutil.copy(SOURCE / part, target)
    program = Path(shutil.copy(PROGRAM, place / "source"))
    for path in (place / "source", *(place / "source").rglob("*")):
        path.chmod(0o755)
    binaries = reachable_binaries(find_binaries(None, None), ids, place / "programs", time.monotonic() + 30)
    return Stranger(
        name=entry.pw_name,
        ids=ids,
        python=_python_for(ids),
        source=source,
        program=program,
        bin_dir=binaries.bin_dir,
    )


def _python_for(ids: Ids) -> Path:
    for candidate in (sys.executable, "/usr/bin/python3", "/usr/local/bin/python3"):
        path = Path(candidate)
        if not path.exists() or not ids.can_reach(path.resolve().parent) or not ids.can_reach(path.parent):
            continue
        recent = subprocess.run([path, "-c", "import sys; sys.exit(sys.version_info < (3, 11))"], check=False)
        if recent.returncode == 0:
            return path
    pytest.skip("no recent Python that another user can reach")
