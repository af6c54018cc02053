"""Tags of runs, changed after their start."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, cast
from uuid import UUID

from pydantic_core import from_json, to_json

from holdfast.client.operations import Effect
from holdfast.client.options import tag_mistakes
from holdfast.core.errors import InvalidInput
from holdfast.store.operations import retag, retag_many

if TYPE_CHECKING:
    from holdfast.client.context import Context
    from holdfast.integrations.catalogue import CallersConnection
    from holdfast.store.session import Session


class Change(NamedTuple):
    """What is set, as JSON, and what is removed."""

    set: str
    remove: list[str]


def change_of(what: str, tags: Mapping[str, str] | None, remove: Iterable[str]) -> Change:
    """A change of tags.

    Raises:
        InvalidInput: a tag is not a text that can be stored, or is both set and removed.
    """
    given: Mapping[str, str] = {} if tags is None else tags
    names = [remove] if isinstance(remove, str) else list(remove)
    mistakes = [*tag_mistakes(given), *tag_mistakes(dict.fromkeys(names, ""))]
    mistakes += [f"{name!r} is both set and removed" for name in names if name in given]
    if mistakes:
        raise InvalidInput(f"{what} cannot be tagged: {'; '.join(mistakes)}")
    return Change(to_json(dict(given)).decode(), names)


async def change_tags(
    context: Context, run_id: UUID, change: Change, *, connection: CallersConnection | None
) -> dict[str, str]:
    """Changes the tags of a run, and gives all that it has then."""

    async def work(session: Session) -> str:
        return await retag(session, run_id, set=change.set, remove=change.remove)

    return cast("dict[str, str]", from_json(await context.database.call(work, connection)))


async def change_tags_of_many(context: Context, runs: Sequence[UUID], change: Change) -> dict[UUID, Effect]:
    """Changes the tags of these runs, in one transaction; nothing comes of those whose records have gone."""

    async def work(session: Session) -> dict[UUID, str]:
        return await retag_many(session, runs, set=change.set, remove=change.remove)

    return {run_id: Effect(effect) for run_id, effect in (await context.database.call(work)).items()}
