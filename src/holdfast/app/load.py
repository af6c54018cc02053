"""Finding an app by the words of the command line: ``module:app``."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

from holdfast.app.app import App
from holdfast.core.errors import ConfigurationError


def load_app(spec: str) -> App:
    """The app that ``spec`` names: ``module:attribute``; without an attribute, the only app of the module.

    The current directory is looked in first, as under ``python -m``.

    Raises:
        ConfigurationError: there is no such module or attribute, or it is not an app; with what there is instead.
    """
    module_name, _, attribute = spec.partition(":")
    if not module_name or module_name.endswith(".py") or "/" in module_name:
        raise ConfigurationError(f"app {spec!r}: write module:attribute, such as shop.orders:app for shop/orders.py")
    module = _imported(module_name, spec)
    if not attribute:
        return _only_app(module, spec)
    value: object = module
    for part in attribute.split("."):
        if not hasattr(value, part):
            raise ConfigurationError(
                f"app {spec!r}: module {module_name} ({_file(module)}) has no {attribute!r}; {_listed(module)}"
            )
        value = getattr(value, part)
    if not isinstance(value, App):
        raise ConfigurationError(
            f"app {spec!r}: {attribute} in {module_name} is {_described(value)}, not an App; {_listed(module)}"
        )
    return value


def _imported(name: str, spec: str) -> ModuleType:
    here = str(Path.cwd())
    if here not in sys.path and "" not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        # A module that the app itself cannot import is a mistake in its code, and its traceback says where.
        if error.name and (name == error.name or name.startswith(f"{error.name}.")):
            raise ConfigurationError(
                f"app {spec!r}: there is no module {error.name!r}, seen from {here}; "
                "change into the directory of your project, or install it"
            ) from error
        raise


def _only_app(module: ModuleType, spec: str) -> App:
    apps = _apps(module)
    if len(apps) != 1:
        raise ConfigurationError(f"app {spec!r}: name the attribute, as in {spec}:app; {_listed(module)}")
    return next(iter(apps.values()))


def _apps(module: ModuleType) -> dict[str, App]:
    return {name: value for name, value in vars(module).items() if isinstance(value, App)}


def _listed(module: ModuleType) -> str:
    names = ", ".join(_apps(module))
    return f"apps in it: {names}" if names else "there is no App in it"


def _file(module: ModuleType) -> str:
    return getattr(module, "__file__", None) or "no file"


def _described(value: object) -> str:
    if isinstance(value, type):
        return f"the class {value.__name__}"
    return f"of class {type(value).__name__}"
