"""A proxy between clients and Postgres that can break what lies between them, and knows what is said.

It understands just enough of the protocol to tell statements and their answers apart: so it can have a statement
committed and lose the answer, which no cable can do on command.
"""

from __future__ import annotations

import asyncio
import struct
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from types import TracebackType
from typing import Literal, NamedTuple, Self
from urllib.parse import parse_qs, urlsplit

_SSL, _GSS, _PROTOCOL_3 = 80877103, 80877104, 196608

_POOLED = {"user", "database", "application_name", "client_encoding", "datestyle", "timezone"}
"""The settings that PgBouncer takes."""

_SIMPLE = b"\0"
"""No name that a prepared statement could have: the last one that was said without any."""

Deafness = Literal["refused", "lost", "dropped"]


class Message(NamedTuple):
    """One message of the protocol, after the start of a connection."""

    kind: bytes
    body: bytes

    def encoded(self) -> bytes:
        return self.kind + struct.pack("!I", len(self.body) + 4) + self.body


class Loss:
    """Answers that are to be lost: those to statements with ``part`` in their text, after they were committed.

    ``which`` says of each such answer, by its place in line from 0 on and its number of rows, whether it is lost.
    """

    def __init__(self, part: str, which: Callable[[int, int], bool]) -> None:
        self.part = part
        self._which = which
        self._answers = 0
        self.lost = 0
        """How many were lost so far."""

    def judge(self, rows: int) -> bool:
        """Whether this answer is lost."""
        place, self._answers = self._answers, self._answers + 1
        lost = self._which(place, rows)
        self.lost += lost
        return lost


class Hold:
    """Requests that wait until it is over: those of connections with ``part`` in the name of their application.

    Those that listen are left alone.
    """

    def __init__(self, part: str) -> None:
        self.part = part
        self._over = asyncio.Event()
        self._waiting = 0
        self.most = 0
        """How many connections had a request waiting at the same time, at most."""

    async def wait(self) -> None:
        """Until it is over."""
        self._waiting += 1
        self.most = max(self.most, self._waiting)
        try:
            await self._over.wait()
        finally:
            self._waiting -= 1

    def end(self) -> None:
        """What waits goes on its way."""
        self._over.set()


class Late(NamedTuple):
    """A request that arrives when its sender does not wait for it any more."""

    part: str
    arrive: Callable[[], Awaitable[object]]
    caught: Callable[[str], object] | None = None
    """Told whose it is, by the application's name, when it is on its way."""


class Proxy:
    """Listens on a port of this machine, and forwards to the socket of the server in ``dsn``."""

    def __init__(self, dsn: str) -> None:
        parts = urlsplit(dsn)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        self._socket = f"{query['host']}/.s.PGSQL.{query.get('port', '5432')}"
        self._user = query["user"]
        self._database = parts.path.lstrip("/")
        self._server: asyncio.Server | None = None
        self._port = 0
        self._wires: set[_Wire] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._refusing = False
        self.passable = asyncio.Event()
        """Whether anything gets through; what is connected when it does not is lost for good."""
        self.passable.set()
        self.delay: Callable[[], float] | None = None
        """How many seconds each request travels."""
        self.deaf: Deafness | None = None
        """What becomes of LISTEN: an error, or an answer and never a notification; or nothing, and notifications are
        dropped on their way."""
        self.dropped = 0
        """How many notifications were."""
        self.pools = False
        """Whether it is a pooler in transaction mode: it takes few settings, and each transaction has a new session."""
        self.muted: set[str] = set()
        """Nobody answers new connections of these, by the name of the application."""
        self.losses: list[Loss] = []
        self.holds: list[Hold] = []
        self.late: Late | None = None
        self.arrived_late = 0
        """How many requests came after their senders had given them up."""
        self.said: Counter[str] = Counter()
        """How often each statement was sent, by its text."""

    @property
    def dsn(self) -> str:
        """The same database, through here."""
        return f"postgresql://{self._user}@127.0.0.1:{self._port}/{self._database}?sslmode=disable"

    @property
    def connections(self) -> int:
        """How many connections there are."""
        return len(self._wires)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self._port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    # -- faults

    def cut(self, *, refuse: bool = False) -> None:
        """Ends every connection at once; with ``refuse`` new ones too, until ``heal``."""
        self._refusing = refuse
        for wire in list(self._wires):
            wire.cut()

    def swallow(self) -> None:
        """From now on nothing gets through, and nobody is told: half-open connections, until ``heal``.

        Connections that stand now are dead for good, as behind a firewall that has forgotten them.
        """
        self.passable.clear()
        for wire in self._wires:
            wire.dead = True

    def forget(self, part: str) -> int:
        """Those connections that have sent a statement with this part in it are half-open from now on; how many."""
        wires = [wire for wire in self._wires if not wire.dead and wire.has_said(part)]
        for wire in wires:
            wire.dead = True
        return len(wires)

    def heal(self) -> None:
        """The network is back."""
        self._refusing = False
        self.passable.set()

    def delay_until_given_up(
        self, part: str, arrive: Callable[[], Awaitable[object]], caught: Callable[[str], object] | None = None
    ) -> None:
        """The next request with this part in it travels until its sender has given it up, and ``arrive`` returns."""
        self.late = Late(part, arrive, caught)

    def lose(self, part: str, which: Callable[[int, int], bool]) -> Loss:
        """Loses answers: see ``Loss``."""
        loss = Loss(part, which)
        self.losses.append(loss)
        return loss

    def hold(self, part: str) -> Hold:
        """Holds requests up, until ``release``: see ``Hold``."""
        hold = Hold(part)
        self.holds.append(hold)
        return hold

    def release(self, hold: Hold) -> None:
        """What was held up goes on its way, and what comes from now on is not."""
        self.holds.remove(hold)
        hold.end()

    # -- forwarding

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await self._forward(reader, writer)
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    def _refuses(self) -> bool:
        return self._refusing

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refuses():
            return
        # What comes while nothing gets through is sent again by the kernel until it does.
        await self.passable.wait()
        start = await _start_of(reader, writer)
        settings = _settings_of(start)
        refused = settings.keys() - _POOLED if self.pools else set[str]()
        if refused:
            words = f"SFATAL\0C08P01\0Munsupported startup parameter: {min(refused)}\0\0"
            writer.write(Message(b"E", words.encode()).encoded())
            await writer.drain()
            return
        server_reader, server_writer = await asyncio.open_unix_connection(self._socket)
        if self._refuses():
            # Since it was let in.
            server_writer.transport.abort()
            return
        wire = _Wire(self, reader, writer, server_reader, server_writer)
        wire.application = settings.get("application_name", "")
        wire.dead = wire.application in self.muted
        self._wires.add(wire)
        try:
            server_writer.write(start)
            await wire.run()
        finally:
            self._wires.discard(wire)
            server_writer.transport.abort()


class _Wire:
    """One connection, the statements that it has prepared, and what is under way on it."""

    def __init__(
        self,
        proxy: Proxy,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        server_reader: asyncio.StreamReader,
        server_writer: asyncio.StreamWriter,
    ) -> None:
        self._proxy = proxy
        self._reader = reader
        self._writer = writer
        self._server_reader = server_reader
        self._server_writer = server_writer
        self._texts: dict[bytes, str] = {}
        self._loss: Loss | None = None
        self._late: Late | None = None
        self.answered = asyncio.Event()
        self.dead = False
        self.application = ""
        """What who has connected calls itself."""

    async def run(self) -> None:
        """Forwards until either side is gone."""
        pumps = [asyncio.create_task(self._there()), asyncio.create_task(self._back())]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)

    def has_said(self, part: str) -> bool:
        """Whether a statement with this part in it came this way."""
        return any(part in text for text in self._texts.values())

    def cut(self) -> None:
        """Both sides see the connection end."""
        self._writer.transport.abort()
        self._server_writer.transport.abort()

    async def _there(self) -> None:
        request: list[bytes] = []
        while True:
            message = await _message(self._reader)
            request.append(self._noted(message).encoded())
            if message.kind not in (b"S", b"Q", b"H", b"X", b"p"):
                continue
            if self._late is not None:
                await self._arrive_late(self._late, request)
                return
            if self._proxy.delay is not None:
                await asyncio.sleep(self._proxy.delay())
            for hold in list(self._proxy.holds):
                if hold.part in self.application and not self.has_said("LISTEN"):
                    await hold.wait()
            if not self.dead:
                self._server_writer.writelines(request)
                await self._server_writer.drain()
            request.clear()

    async def _arrive_late(self, late: Late, request: list[bytes]) -> None:
        with suppress(ConnectionError):
            while await self._reader.read(4096):
                pass
        self.dead = True
        await late.arrive()
        self._server_writer.writelines(request)
        await self._server_writer.drain()
        await self.answered.wait()
        self._proxy.arrived_late += 1

    async def _back(self) -> None:
        answer: list[Message] = []
        while True:
            message = await _message(self._server_reader)
            if message.kind == b"A" and self._proxy.deaf == "dropped":
                self._proxy.dropped += 1
                continue
            if self.dead and message.kind == b"Z":
                self.answered.set()
            if self._proxy.pools and message == Message(b"Z", b"I"):
                await self._change_session()
            if self._loss is None:
                self._return(message)
                await self._writer.drain()
                continue
            answer.append(message)
            if message.kind == b"Z":
                loss, self._loss = self._loss, None
                if loss.judge(sum(one.kind == b"D" for one in answer)):
                    self.cut()
                    return
                self._return(*answer)
                answer.clear()

    async def _change_session(self) -> None:
        """What the session knew is gone: prepared statements, what it listens to, its locks and settings."""
        self._server_writer.write(Message(b"Q", b"DISCARD ALL\0").encoded())
        while (await _message(self._server_reader)).kind != b"Z":
            pass

    def _return(self, *messages: Message) -> None:
        if not self.dead:
            self._writer.writelines([message.encoded() for message in messages])

    def _noted(self, message: Message) -> Message:
        text: str | None = None
        match message.kind:
            case b"P":
                name, query, rest = message.body.split(b"\0", 2)
                query = self._silenced(query)
                self._texts[name] = query.decode()
                return Message(b"P", b"\0".join([name, query, rest]))
            case b"B":
                text = self._texts.get(message.body.split(b"\0", 2)[1])
            case b"Q":
                text = self._texts[_SIMPLE] = message.body.rstrip(b"\0").decode()
            case _:
                pass
        if text is not None:
            self._proxy.said[text] += 1
            if self._proxy.late is not None and self._proxy.late.part in text:
                self._late, self._proxy.late = self._proxy.late, None
                if self._late.caught is not None:
                    self._late.caught(self.application)
            self._loss = next((loss for loss in self._proxy.losses if loss.part in text), None)
        return message

    def _silenced(self, query: bytes) -> bytes:
        if not query.startswith(b"LISTEN"):
            return query
        match self._proxy.deaf:
            case None | "dropped":
                return query
            case "lost":
                return b"UNLISTEN *"
            case "refused":
                return b"do $$ begin raise feature_not_supported using message = 'LISTEN needs a session'; end $$"


async def _start_of(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    """The packet with which a connection begins, or a request to cancel."""
    while True:
        head = await reader.readexactly(8)
        length, code = struct.unpack("!II", head)
        if code in (_SSL, _GSS):
            writer.write(b"N")
            continue
        return head + await reader.readexactly(length - 8)


def _settings_of(start: bytes) -> dict[str, str]:
    """The settings in the packet with which a connection begins."""
    if struct.unpack("!I", start[4:8]) != (_PROTOCOL_3,):
        return {}
    words = [word.decode() for word in start[8:].rstrip(b"\0").split(b"\0")]
    return {name.lower(): value for name, value in zip(words[::2], words[1::2], strict=False)}


async def _message(reader: asyncio.StreamReader) -> Message:
    head = await reader.readexactly(5)
    (length,) = struct.unpack("!I", head[1:])
    return Message(head[:1], await reader.readexactly(length - 4))
