"""A Postgres of our own: found, started, shared by many processes, and stopped by the last of them.

Here live the settings, the place of the data, the account, the programs, the supervisor and the lease of a client.
It may import ``core`` and the standard library only. It never opens a network port, never creates a user, never
changes the mode or owner of a directory that it has not made, and never leaves a server behind.
"""

from holdfast.embedded.description import Description
from holdfast.embedded.server import EmbeddedPostgres
from holdfast.embedded.settings import Durability, EmbeddedSettings

__all__ = ["Description", "Durability", "EmbeddedPostgres", "EmbeddedSettings"]
