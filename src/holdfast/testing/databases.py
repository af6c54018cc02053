"""Databases for tests: each is copied from a template in a moment, and dropped after its test."""

from __future__ import annotations

import re
import uuid
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Self

from holdfast.core.errors import ConfigurationError
from holdfast.store.connect import hide_password
from holdfast.store.testbed.database import copy_database, drop_database, make_template

_URL = re.compile(r"(?P<server>\w+://[^/?#]*)(?:/(?P<database>[^?#]*))?(?P<rest>.*)")


class Databases:
    """Databases on the server at ``url``, copies of a template that has Holdfast's schema.

    ``async with Databases(url) as databases:`` makes the template, and drops it at the end. Where ``template`` names
    one, it is shared by all that name it: made by who comes first, and left where it is.

    Args:
        url: How to connect to a database of the server, as a user who may create others.
        template: The name of a template to share.

    Raises:
        ConfigurationError: ``url`` is not a URL.
        DatabaseError: when it is entered: the server cannot be reached, or refuses.
    """

    def __init__(self, url: str, *, template: str | None = None) -> None:
        if _URL.fullmatch(url) is None:
            raise ConfigurationError(
                f"{hide_password(url)!r} is not the URL of a Postgres; it looks like postgresql://user@host/database"
            )
        self._server = url
        self._shared = template is not None
        self.template = template or f"holdfast_template_{uuid.uuid4().hex[:16]}"
        """The name of the database that the others are copies of."""

    async def __aenter__(self) -> Self:
        await make_template(self._server, self.template, self.url_of(f"{self.template}_unfinished"))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._shared:
            await drop_database(self._server, self.template)

    def url_of(self, name: str) -> str:
        """How to connect to the database ``name`` of this server."""
        return _URL.sub(rf"\g<server>/{name}\g<rest>", self._server, count=1)

    async def create(self, *, empty: bool = False) -> str:
        """Makes a database, and gives its URL; an ``empty`` one has nothing in it."""
        name = f"holdfast_test_{uuid.uuid4().hex[:16]}"
        await copy_database(self._server, name, "template1" if empty else self.template)
        return self.url_of(name)

    async def drop(self, url: str) -> None:
        """Drops a database that :meth:`create` has made; who is connected to it is cut off."""
        found = _URL.fullmatch(url)
        assert found is not None
        await drop_database(self._server, found["database"])

    @asynccontextmanager
    async def database(self, *, empty: bool = False) -> AsyncGenerator[str]:
        """The URL of a database that is there for as long as the block lasts."""
        url = await self.create(empty=empty)
        try:
            yield url
        finally:
            await self.drop(url)
