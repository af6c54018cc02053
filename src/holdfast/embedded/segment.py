"""The shared memory that a killed server leaves behind, which nobody but its successor would ever remove."""

from __future__ import annotations

from pathlib import Path

from holdfast.embedded.libc import remove_shared_memory

_SEGMENTS = Path("/proc/sysvipc/shm")


def remove_segment_of(cluster: Path) -> None:
    """Removes the segment of the server that ran last in this data directory, if it is still there and unused.

    For data that is about to be removed, and so will have no successor. It does nothing where the system does not
    show its segments.
    """
    try:
        key, number = (cluster / "postmaster.pid").read_text().splitlines()[6].split()
        lines = _SEGMENTS.read_text().splitlines()[1:]
    except (OSError, IndexError, ValueError):
        return
    for line in lines:
        fields = line.split()
        # key, id, permissions, size, creator, last user, attached: ids are given again, together with the key hardly.
        if (fields[0], fields[1], fields[6]) == (key, number, "0"):
            remove_shared_memory(int(number))
