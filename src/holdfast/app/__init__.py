"""The hall: an :class:`App` wires definitions, settings, database, client and worker together, and owns none of them.

Here live the registry of definitions, the settings with the place that each came from, and the resources of a worker.
It may import everything below it, from ``worker`` down; it runs no SQL of its own and decides nothing about runs.
"""

from holdfast.app.app import App
from holdfast.app.check import Break, Checked, CheckReport
from holdfast.app.load import load_app
from holdfast.app.resource import Resource
from holdfast.app.settings import AppSettings, Setting

__all__ = ["App", "AppSettings", "Break", "CheckReport", "Checked", "Resource", "Setting", "load_app"]
