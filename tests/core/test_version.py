"""What a version can be, and which one is newer."""

from __future__ import annotations

import pytest

from holdfast.core.errors import DefinitionError
from holdfast.core.version import checked_version, rank, task_name, version_in


def test_numbers_in_a_version_count_as_numbers() -> None:
    written = [None, "rc", "1", "1.9", "1.10", "2", "10", "2026-03-01", "2026-11-30"]
    backwards = written[::-1]
    assert sorted(backwards, key=rank) == written


@pytest.mark.parametrize(("given", "text"), [(2, "2"), ("2", "2"), ("v2-rc.1", "v2-rc.1"), (None, None)])
def test_a_version_is_a_number_or_a_text(given: object, text: str | None) -> None:
    assert checked_version(given, "workflow 'order'") == text


@pytest.mark.parametrize("given", ["", "a b", "a@b", "x" * 51, "a\nb", True, 1.5, b"2"])
def test_what_cannot_be_a_version_is_refused(given: object) -> None:
    with pytest.raises(DefinitionError, match=r"workflow 'order': version= is a whole number or a text"):
        checked_version(given, "workflow 'order'")


def test_the_name_of_a_task_holds_both() -> None:
    assert task_name("order", None) == "order"
    assert task_name("order", "2") == "order@2"
    assert [version_in(name) for name in ("order", "order@2")] == [None, "2"]
