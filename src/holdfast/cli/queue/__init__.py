"""``holdfast queue``: sending and receiving messages, and looking after queues.

Uses the client only, so everything here can be done in Python too. It decides nothing about a message.
"""

from holdfast.cli.queue.group import queue

__all__ = ["queue"]
