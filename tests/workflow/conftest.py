"""Nothing that is dropped may be heard of again."""

from __future__ import annotations

import gc
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture(scope="session", autouse=True)
def what_is_there_already_stays() -> None:
    """Left out of the collections below, which are then quick."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def silence_is_kept(capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    """After each test, with all rubbish collected: no warning, no error from a finalizer, nothing on stderr."""
    heard: list[Any] = []
    before = sys.unraisablehook
    sys.unraisablehook = lambda unraisable: heard.append((unraisable.err_msg, unraisable.object, unraisable.exc_value))
    try:
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            yield
            gc.collect()
    finally:
        sys.unraisablehook = before
    assert not heard
    assert not [str(warning.message) for warning in warned]
    assert capfd.readouterr().err == ""
