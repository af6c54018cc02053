"""``holdfast limit``: how much of limits is taken, and who waits. Uses the client only."""

from holdfast.cli.limit.group import limit

__all__ = ["limit"]
