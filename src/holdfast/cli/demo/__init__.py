"""``holdfast demo``: the examples, two workers, and one of them killed.

The examples here are the very files in ``examples/`` of the project. What the demo adds is around them: the ledger of
every call, the crew of worker processes, what is shown meanwhile, and the verdict at the end.
"""

from holdfast.cli.demo.command import demo

__all__ = ["demo"]
