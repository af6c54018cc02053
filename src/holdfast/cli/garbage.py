"""The garbage collector of a process that is a worker and nothing else."""

from __future__ import annotations

import gc


def spare_collector() -> None:
    """What has been loaded so far stays for good, so it is not looked at again; what comes and goes, less often.

    A worker makes some hundred objects for each run and lets go of them by reference counts alone. With Python's
    defaults the collector looks for cycles among them after every 700, in vain.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
