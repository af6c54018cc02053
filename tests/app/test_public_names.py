"""What users import is a promise."""

from __future__ import annotations

import holdfast
from holdfast.core import errors


def test_public_names_are_sorted_and_there() -> None:
    assert holdfast.__all__ == sorted(holdfast.__all__)
    for name in holdfast.__all__:
        assert getattr(holdfast, name) is not None


def test_every_error_can_be_imported_from_the_top() -> None:
    tree = {name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, Exception)}
    assert tree <= set(holdfast.__all__)


def test_the_fixed_names_are_there() -> None:
    assert {"App", "Client", "Retry", "RunHandle", "Signal", "sleep", "sleep_until", "now", "uuid4"} <= set(
        holdfast.__all__
    )
