"""The server as simulated processes see it: executes one round trip at a time, and may lose what it says of it.

A statement is executed to its end on a real session. Where its commit is put off, its transaction stays open meanwhile
and holds what it has locked; who waits for such a lock waits until that is released. One at a time waits: of another
one that would have to, the statement is taken back and arrives again a little later.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import asyncpg

from tests.simulation.backends import BLOCKED, Backend, Backends, Call
from tests.simulation.connection import SimulatedConnection, digest, shown
from tests.simulation.weather import Blow, Fate, Weather

if TYPE_CHECKING:
    from tests.simulation.process import Process
    from tests.simulation.world import World

_PATIENCE = 2.0
"""Seconds for which a lock is waited for: as the functions of the schema say."""
_FENCED = frozenset({"claim", "claim_limited", "flush"})
_GIVE_UP = frozenset({"leave", "recover"})
_MAY_TERMINATE = frozenset({"recover", "settle", "end_transactions"})
_LEFT = """
select extract(epoch from w.lease_until - simulated.clock_timestamp())::float8 as seconds
  from holdfast.worker w
 where w.id = $1
   and w.ended_at is null
"""
_LONG = 0.3
"""A heartbeat that takes so long may be the reason that a lease is lost."""


@dataclass(eq=False, slots=True, kw_only=True)
class Trip:
    """One round trip."""

    connection: SimulatedConnection
    name: str
    worker: object
    """The number of the worker that speaks, where it has to have a lease for that."""
    about: object
    """The number of a worker, where what is asked begins with that."""
    call: Call | None
    fate: Fate
    answer: asyncio.Future[Any]
    withdrawn: bool = False
    """Whether it was taken back before it arrived."""


@dataclass(slots=True, kw_only=True)
class _Waiting:
    trip: Trip
    backend: Backend
    go_on: Callable[[Any], None]


class Server:
    """One database, and the sessions in which its statements are executed."""

    def __init__(self, world: World, weather: Weather, backends: Backends) -> None:
        self.world = world
        self.weather = weather
        self.backends = backends
        self.version = backends.admin.get_server_version()
        self.trips = 0
        self.waits = 0
        self._away = False
        self._trips: dict[SimulatedConnection, Trip] = {}
        self._held: dict[Trip, Backend] = {}
        self._waiting: _Waiting | None = None
        self._belated: dict[Trip, None] = {}
        """What is on its way until its worker leaves or is given up."""
        self._connections: dict[SimulatedConnection, None] = {}

    @property
    def quiet(self) -> bool:
        """Whether no transaction is open."""
        return not self.backends.opened

    # ---- what processes ask

    async def connect(self, process: Process, label: str) -> SimulatedConnection:
        """A new connection; refused while the server is away, or the process has no network."""
        fate = self.weather.fate("connect", mortal=False)
        if fate.there + fate.back > _LONG:
            process.disturb(fate.there + fate.back)
        await asyncio.sleep(fate.there + fate.back)
        if self._away or process.cut_off:
            raise ConnectionRefusedError("the server is away")
        connection = SimulatedConnection(self, process, label)
        self._connections[connection] = None
        return connection

    async def ask(
        self, connection: SimulatedConnection, name: str, call: Call | None, args: tuple[object, ...] = ()
    ) -> Any:
        """What the statement gives, when the answer has arrived."""
        world, process = self.world, connection.process
        if connection in self._trips:
            raise asyncpg.InterfaceError("cannot perform operation: another operation is in progress")
        fate = self.weather.fate(name, mortal=process.mortal)
        trip = Trip(
            connection=connection,
            name=name,
            worker=args[0] if name in _FENCED else None,
            about=args[0] if args else None,
            call=call,
            fate=fate,
            answer=asyncio.get_running_loop().create_future(),
        )
        self.trips += 1
        if fate.blow is not None:
            world.befallen[f"a round trip {fate.blow.value}"] += 1
            seconds = fate.there + fate.back + (fate.held or 0.0)
            if fate.blow is Blow.ANSWER_LOST:
                seconds += self._half_open
            if seconds > _LONG or fate.held is None:
                process.disturb(seconds)
        if fate.blow is Blow.DIE_BEFORE:
            process.kill()
        elif fate.blow is Blow.BELATED:
            self._trips[connection] = trip
            self._belated[trip] = None
            world.after(fate.there, lambda: self._let_in(trip, 0.0))
        else:
            self._trips[connection] = trip
            if fate.blow is Blow.LAST_MOMENT:
                # The tables are looked at from outside, and not from within a step of a process.
                world.after(0.0, lambda: self._put_off(trip))
            else:
                self._send(trip)
        try:
            return await trip.answer
        except asyncio.CancelledError:
            # The request to cancel it may come in time, or too late.
            trip.withdrawn = trip.withdrawn or (trip not in self._belated and world.chance.random() < 0.5)
            raise
        finally:
            if self._trips.get(connection) is trip:
                del self._trips[connection]

    @property
    def _half_open(self) -> float:
        """Seconds after which a connection is cut over which nothing comes."""
        return 3 * self.weather.lease

    def _put_off(self, trip: Trip) -> None:
        """This heartbeat arrives when the lease is nearly over; its process stands still until after that."""
        # What runs have said is read by a name that is much the same.
        for row in self.backends.look(_LEFT, trip.about) if isinstance(trip.about, int) else ():
            if row["seconds"] > 0.1:
                trip.fate = replace(trip.fate, there=row["seconds"] - 0.02)
                trip.connection.process.freeze(row["seconds"] + (trip.fate.held or 0.0))
        self._send(trip)

    def _send(self, trip: Trip) -> None:
        connection = trip.connection
        connection.arrives_at = max(connection.arrives_at, self.world.now) + trip.fate.there
        self.world.at(connection.arrives_at, lambda: self._arrive(trip))

    def _let_in(self, trip: Trip, seconds: float) -> None:
        if trip in self._belated:
            del self._belated[trip]
            self.world.after(seconds, lambda: self._arrive(trip))

    def left(self, connection: SimulatedConnection) -> None:
        """Its client is gone, or has closed it: what was asked has no answer, and an open transaction is undone."""
        self._connections.pop(connection, None)
        trip = self._trips.pop(connection, None)
        if trip is not None and not trip.answer.done():
            trip.answer.set_exception(
                asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation")
            )
        if connection.pinned is not None and (self._waiting is None or self._waiting.trip.connection is not connection):
            self.world.after(0.02 * self.world.chance.random(), lambda: self._undo(connection))

    def broken(self, connection: SimulatedConnection) -> None:
        """It was cut: for the trace."""
        self.world.note(connection.process.name, f"loses {connection.label}")

    # ---- what befalls it

    def restart(self, seconds: float) -> None:
        """All that is open is undone, all connections are cut, and nobody connects for a while."""
        self.world.note("server", f"restarts, and is away for {seconds:.3f} s")
        self.world.befallen["the server restarts"] += 1
        self._away = True
        for trip in (*self._trips.values(), *self._belated):
            trip.withdrawn = True
        self._belated.clear()
        if self._waiting is not None:
            waiting, self._waiting = self._waiting, None
            self.backends.cancel(waiting.backend)
            if waiting.trip.connection.pinned is not waiting.backend:
                self._drop(waiting.backend)
        for trip, backend in list(self._held.items()):
            del self._held[trip]
            self._drop(backend)
        for connection in list(self._connections):
            if connection.pinned is not None:
                backend, connection.pinned = connection.pinned, None
                self._drop(backend)
            connection.lose()
        self.world.after(seconds, self._return)

    def _return(self) -> None:
        self._away = False
        self.world.note("server", "is back")

    # ---- how it executes

    def _arrive(self, trip: Trip) -> None:
        connection, world = trip.connection, self.world
        if trip.withdrawn or self._away:
            return
        if trip.fate.blow is Blow.BELATED:
            # Whoever has sent it has long given it up.
            pass
        elif connection.is_closed() and (connection.lost or world.chance.random() < 0.5):
            # What was sent before the connection went arrives all the same, or is lost with it.
            if world.chance.random() < 0.5 or connection.pinned is not None:
                return
        elif trip.fate.blow is Blow.CUT_BEFORE and not connection.is_closed():
            connection.lose()
            return
        self._execute(trip)

    def _execute(self, trip: Trip) -> None:
        connection, call = trip.connection, trip.call
        if call is None:
            self._answer(trip, None)
            return
        if trip.name in _GIVE_UP and self._belated and trip.fate.held is None:
            trip.fate = replace(trip.fate, held=0.1)
        if connection.pinned is not None:
            self._say(trip, connection.pinned)
        elif trip.name.startswith("begin"):
            connection.pinned = self._open()
            self._say(trip, connection.pinned)
        elif trip.fate.held is not None and not connection.is_closed():
            backend = self._open()
            self._do(backend, lambda db: db.execute("begin"))
            self._go(trip, backend, lambda outcome: self._hold(trip, backend, outcome))
        else:
            backend = self.backends.take()
            self._go(trip, backend, lambda outcome: self._done(trip, backend, outcome))

    def _say(self, trip: Trip, backend: Backend) -> None:
        """A statement of a transaction that the client has opened."""

        def go_on(outcome: Any) -> None:
            connection = trip.connection
            if trip.name in ("commit", "rollback"):
                connection.pinned = None
                self._give(backend)
            self._answer(trip, outcome)
            self._released()
            if connection.is_closed():
                self._undo(connection)

        self._go(trip, backend, go_on)

    def _go(self, trip: Trip, backend: Backend, go_on: Callable[[Any], None]) -> None:
        assert trip.call is not None
        outcome = self._do(backend, trip.call)
        if outcome is not BLOCKED:
            go_on(outcome)
            return
        self.waits += 1
        self.world.note(trip.connection.process.name, f"{trip.name} waits for a lock")
        if self._waiting is None:
            waiting = self._waiting = _Waiting(trip=trip, backend=backend, go_on=go_on)
            self.world.after(_PATIENCE, lambda: self._give_up(waiting))
            return
        # Two at once would go on in an order that is nobody's: this one comes again.
        outcome = self.backends.cancel(backend)
        if trip.connection.pinned is backend:
            go_on(outcome)
            return
        self._drop(backend)
        self.world.after(0.05, lambda: self._arrive(trip))

    def _do(self, backend: Backend, call: Call) -> Any:
        try:
            return self.backends.begin(backend, call, micros=self.world.micros)
        except Exception as error:
            return error

    def _give_up(self, waiting: _Waiting) -> None:
        if self._waiting is waiting:
            self._waiting = None
            waiting.go_on(self.backends.cancel(waiting.backend))

    def _released(self) -> None:
        """Locks were released: perhaps what waits can go on."""
        waiting = self._waiting
        if waiting is None:
            return
        try:
            outcome = self.backends.resume(waiting.backend)
        except Exception as error:
            outcome = error
        if outcome is not BLOCKED and self._waiting is waiting:
            self._waiting = None
            waiting.go_on(outcome)

    def _done(self, trip: Trip, backend: Backend, outcome: Any) -> None:
        self._check_fence(trip, outcome)
        self._spread(backend)
        self.backends.give(backend)
        self._answer(trip, outcome)
        if self.backends.opened:
            self._mourn(trip)
            self._released()

    def _hold(self, trip: Trip, backend: Backend, outcome: Any) -> None:
        if isinstance(outcome, Exception):
            self._drop(backend)
            self._answer(trip, outcome)
            return
        assert trip.fate.held is not None
        self._held[trip] = backend
        self.world.note(trip.connection.process.name, f"{trip.name} is not committed yet")
        self.world.after(trip.fate.held, lambda: self._commit(trip, outcome))
        if trip.name in _GIVE_UP:
            # What was on its way until now arrives amid this, or just after it.
            given_up = trip.about if trip.name == "leave" else outcome and outcome["worker_id"]
            for late in [one for one in self._belated if one.about == given_up]:
                self._let_in(late, trip.fate.held * self.world.chance.choice([0.5, 1.1]))
        self._mourn(trip)

    def _commit(self, trip: Trip, outcome: Any) -> None:
        backend = self._held.pop(trip, None)
        if backend is None:
            return
        self._check_fence(trip, outcome)
        said = self._do(backend, lambda db: db.execute("commit"))
        self._give(backend)
        self._answer(trip, said if isinstance(said, Exception) else outcome)
        self._released()

    def _undo(self, connection: SimulatedConnection) -> None:
        if connection.pinned is not None:
            backend, connection.pinned = connection.pinned, None
            self._drop(backend)

    def _drop(self, backend: Backend) -> None:
        self._do(backend, lambda db: db.execute("rollback"))
        self._give(backend)
        self._released()

    def _open(self) -> Backend:
        backend = self.backends.take()
        self.backends.opened[backend] = None
        self.backends.set_clock(self.world.micros)
        self.backends.look("insert into simulated.opened values ($1, simulated.clock_timestamp())", backend.pid)
        return backend

    def _give(self, backend: Backend) -> None:
        self.backends.look("delete from simulated.opened where pid = $1", backend.pid)
        self._spread(backend)
        self.backends.give(backend)

    def _mourn(self, last: Trip) -> None:
        """Sessions that were terminated by what was executed last: their transactions are over."""
        if last.name not in _MAY_TERMINATE:
            return
        self.backends.notice()
        for trip, backend in list(self._held.items()):
            if backend.connection.is_closed():
                del self._held[trip]
                self.backends.give(backend)
                trip.connection.lose()
        for connection in list(self._connections):
            if connection.pinned is not None and connection.pinned.connection.is_closed():
                backend, connection.pinned = connection.pinned, None
                self.backends.give(backend)
                connection.lose()

    # ---- what becomes of the answer

    def _answer(self, trip: Trip, outcome: Any) -> None:
        connection, world = trip.connection, self.world
        process = connection.process
        world.note(process.name, f"{trip.name}: {shown(outcome)} {digest(trip.name, outcome)}".rstrip())
        if isinstance(outcome, asyncpg.ConnectionDoesNotExistError | asyncpg.InterfaceError | OSError) or (
            isinstance(outcome, asyncpg.PostgresError) and (outcome.sqlstate or "").startswith("57P")
        ):
            connection.lose()
        elif connection.is_closed() or not process.alive:
            return
        elif trip.fate.blow is Blow.CUT_AFTER:
            connection.lose()
        elif trip.fate.blow is Blow.ANSWER_LOST:
            world.after(self._half_open, connection.lose)
        elif trip.fate.blow is Blow.DIE_AFTER and process.mortal:
            process.kill()
        else:
            connection.told_at = max(connection.told_at, world.now) + trip.fate.back
            world.at(connection.told_at, lambda: self._deliver(trip, outcome))

    def _check_fence(self, trip: Trip, outcome: Any) -> None:
        """What is written is of a worker that nobody has given up. Looked at while nobody can go on who waits."""
        if trip.worker is None or isinstance(outcome, Exception):
            return
        if self.backends.look("select from holdfast.worker where id = $1 and ended_at is not null", trip.worker):
            self.world.blame(
                f"{trip.name} of worker {trip.worker} of {trip.connection.process.name} was taken, and it had ended"
            )

    def _deliver(self, trip: Trip, outcome: Any) -> None:
        if trip.answer.done() or trip.connection.is_closed():
            return
        if isinstance(outcome, BaseException):
            trip.answer.set_exception(outcome)
        else:
            trip.answer.set_result(outcome)

    def _spread(self, backend: Backend) -> None:
        """Those who listen hear of what was committed; each after a while of its own, or not at all."""
        heard, backend.heard = backend.heard, []
        for payload in heard:
            for connection in list(self._connections):
                if not connection.listeners:
                    continue
                seconds = self.weather.hint()
                if seconds is not None:
                    connection.told_at = max(connection.told_at, self.world.now) + seconds
                    self.world.at(connection.told_at, partial(self._hint, connection, payload))

    def _hint(self, connection: SimulatedConnection, payload: str) -> None:
        for callback in list(connection.listeners):
            connection.process.loop.call_soon(callback, connection, 1, "holdfast", payload)
