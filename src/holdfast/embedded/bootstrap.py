"""The program that the supervisor is started as. It is run by its path and imported by nobody.

The folders stand in for the packages, so that their ``__init__`` with all that it imports is not run: the supervisor
needs a few files of this folder and the standard library, and is up in a fraction of the time.
"""

from __future__ import annotations

import sys
import types
from pathlib import Path


def stand_in(root: Path) -> None:
    """Makes the packages importable without running them."""
    for name in ("holdfast", "holdfast.core", "holdfast.embedded"):
        package = types.ModuleType(name)
        package.__path__ = [str(root.joinpath(*name.split(".")[1:]))]
        sys.modules[name] = package


if __name__ == "__main__":
    stand_in(Path(__file__).resolve().parents[1])

    from holdfast.embedded.supervisor import main

    main()
