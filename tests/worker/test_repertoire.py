"""The names under which a worker claims, and what it pins runs to."""

from __future__ import annotations

from typing import Any

from holdfast import App
from holdfast.worker.repertoire import Repertoire


async def nothing() -> None: ...


def repertoire(*versions: int | str | None) -> Repertoire:
    app = App()
    app.workflow(name="pay")(nothing)
    for version in versions:
        app.workflow(name="order", version=version)(nothing)
    return Repertoire.of(app.executables)


def pins(repertoire: Repertoire) -> dict[str, Any]:
    return dict(zip(repertoire.names, zip(repertoire.fresh, repertoire.begun, strict=True), strict=True))


def test_without_versions_nothing_is_pinned() -> None:
    assert repertoire(None) == Repertoire(names=["order", "pay"])


def test_new_runs_go_to_the_highest_version_and_those_without_one_to_the_lowest() -> None:
    assert pins(repertoire(2, 10, 9)) == {
        "order": ("order@10", "order@2"),
        "order@10": (None, None),
        "order@2": (None, None),
        "order@9": (None, None),
        "pay": (None, None),
    }


def test_code_without_a_version_keeps_its_runs_beside_versions() -> None:
    assert pins(repertoire(None, 1))["order"] == ("order@1", "order")
