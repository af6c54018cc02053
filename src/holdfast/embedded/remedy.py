"""What to do about what the Postgres programs often complain of."""

from __future__ import annotations

_REMEDIES = {
    "No space left on device": "the disk is full: make room, or set data_dir to another disk",
    "Disk quota exceeded": "the disk quota is used up: make room, or set data_dir to another disk",
    "Read-only file system": "the file system is read-only: set data_dir to another place",
    "Permission denied": "its account may not use that file or directory",
    "error while loading shared libraries": "a library that the programs need is missing: install it",
    "Cannot allocate memory": "there is not enough memory: lower shared_buffers or max_connections",
    "could not create semaphores": "the system has no semaphores left: lower max_connections",
    "unrecognized configuration parameter": "an option is not known to this version: correct options",
    "invalid value for parameter": "an option has a value that it cannot have: correct options",
}


def remedy(output: str) -> str:
    """The advice for what these lines complain of, as the end of a sentence; empty if there is none."""
    for complaint, advice in _REMEDIES.items():
        if complaint in output:
            return f": {advice}"
    return ""
