"""Where another process finds a function: by its module and its name there."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import NamedTuple

from holdfast.core.errors import DefinitionError


class Reference(NamedTuple):
    """``shop.images:resize``."""

    module: str
    qualname: str

    @classmethod
    def of(cls, fn: Callable[..., object], *, what: str) -> Reference:
        """The reference to ``fn``.

        Raises:
            DefinitionError: it has no name by which another process could find it.
        """
        module: object = getattr(fn, "__module__", None)
        qualname: object = getattr(fn, "__qualname__", None)
        if not isinstance(module, str) or not isinstance(qualname, str):
            raise DefinitionError(f"{what}: {fn!r} has no name, and a process {_FINDS}; write it as a function")
        if "<lambda>" in qualname:
            raise DefinitionError(f"{what}: a process {_FINDS}, and a lambda has none; write it as a function")
        if "<locals>" in qualname:
            raise DefinitionError(
                f"{what}: a process {_FINDS}, and {qualname} exists only inside of a call; move it to the top of "
                f"module {module}, and let decorators use functools.wraps"
            )
        return cls(module, qualname)

    def check(self, fn: Callable[..., object], *, what: str) -> None:
        """Looks whether another process will find ``fn`` here.

        Raises:
            DefinitionError: it would find nothing, or something else; the message says why.
        """
        module = sys.modules.get(self.module)
        if module is None or (main_of_script() is None if self.module == "__main__" else not _has_source(module)):
            raise DefinitionError(
                f"{what}: a process {_FINDS}, and module {self.module!r} cannot be imported again, because it is no "
                "file; move the function to a module of your project"
            )
        found: object = module
        for part in self.qualname.split("."):
            found = getattr(found, part, None)
        if getattr(found, "fn", found) is not fn:
            raise DefinitionError(
                f"{what}: a process {_FINDS}, and {self} is {'nothing' if found is None else f'{found!r}'}; give the "
                "function and what the decorator makes of it one name at the top of its module"
            )

    def find(self) -> object:
        """What stands there: the activity, or its function."""
        found: object = importlib.import_module(self.module)
        for part in self.qualname.split("."):
            found = getattr(found, part)
        return found

    def __str__(self) -> str:
        return f"{self.module}:{self.qualname}"


def main_of_script() -> dict[str, str] | None:
    """How another process can load what is ``__main__`` here: by its module's name or its path; None if it cannot."""
    main = sys.modules.get("__main__")
    spec: ModuleSpec | None = getattr(main, "__spec__", None)
    if spec is not None:
        return {"name": spec.name}
    path = getattr(main, "__file__", None)
    return {"path": str(Path(path).resolve())} if path and Path(path).is_file() else None


def _has_source(module: object) -> bool:
    spec: ModuleSpec | None = getattr(module, "__spec__", None)
    return spec is not None and spec.origin is not None


_FINDS = "finds a function by its module and name"
