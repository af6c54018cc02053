"""``holdfast worker``: run workers, see how they stand, and tell them what to do; one command per file.

It may import ``app`` and everything below it; it decides nothing about runs.
"""

from holdfast.cli.worker.group import worker

__all__ = ["worker"]
