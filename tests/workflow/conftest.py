"""Nothing that is dropped may be heard of again."""

from __future__ import annotations

import gc
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import pytest


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
            gc.collect()
    finally:
        sys.unraisablehook = before
    assert not heard
    assert not [str(warning.message) for warning in warned]
    assert capfd.readouterr().err == ""
