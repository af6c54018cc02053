"""What users test their workflows with: databases for tests, a clock that is moved, crashes, fakes, replays.

An :class:`Env` is a client of the app under test with workers beside it, on a database whose time stands still. It may
import everything up to ``app``, and nothing of Holdfast imports it; the pytest plugin ``holdfast_pytest`` is a door to
it. It never changes what code under test sees of the engine, other than the time and what was asked for.
"""

from holdfast.testing.crash import CrashPoint
from holdfast.testing.databases import Databases
from holdfast.testing.env import Env, OpenEnv, open_env
from holdfast.testing.fake import Fake, FakeCall
from holdfast.testing.journal import Journal
from holdfast.testing.server import shared_postgres

__all__ = ["CrashPoint", "Databases", "Env", "Fake", "FakeCall", "Journal", "OpenEnv", "open_env", "shared_postgres"]
