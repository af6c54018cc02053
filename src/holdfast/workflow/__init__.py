"""The workflow runtime: a deterministic event loop, the delivery of what a journal holds, and what workflow code sees.

A worker drives an :class:`~holdfast.workflow.instance.Instance`; users see activities, workflows, signals, ``sleep``,
``now`` and their like. May import what lies below it, and needs the core only. It never does I/O, reads no clock but
the run's own, and writes nothing.
"""
