"""Writes the blocking classes from the async ones: `./dev write`. The tests compare what is there with what this gives.

From the source of each class it takes the public verbs with their overloads, parameters and types, and gives methods
that hand them over the bridge. ``connection=`` takes what blocking code has: connections that belong to no event loop.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
TARGET = ROOT / "src" / "holdfast" / "app" / "blocking"
LONGEST = 105

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Twin:
    """An async class, and how its verbs are reached from the client."""

    module: str
    name: str
    blocking: str
    file: str
    title: str
    reached: str
    """The async object, from ``client``, in the methods of the blocking one."""
    body: str
    """The beginning of the class, up to its first verb."""
    bodies: dict[str, str]
    """What verbs do that are not async, and need no loop."""


CLIENT = Twin(
    module="holdfast.client.client",
    name="Client",
    blocking="BlockingClient",
    file="client.py",
    title="The verbs of a client, blocking.",
    reached="client",
    body='''
class BlockingClient:
    """Starts, signals, cancels, awaits and inspects runs, from code that is not async; for any thread.

    Every verb of :class:`Client`, with the same parameters, which waits and gives the result. It connects when it is
    first used, in a thread of its own, and closes with the block, by :meth:`close`, or with the process. After a fork
    the new process connects anew. ``connection=`` takes a connection of Django, of psycopg, or a session or connection
    of SQLAlchemy, all of the calling thread, in whose transaction the run is started, signalled or cancelled.
    """

    def __init__(self, bridge: Bridge[Client]) -> None:
        self._bridge = bridge

    def __enter__(self) -> Self:
        self._bridge.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes its connections; calls that are under way in other threads fail."""
        self._bridge.close()

    @property
    def workers(self) -> BlockingWorkers:
        """Who executes runs."""
        return BlockingWorkers(self._bridge)

    @property
    def limits(self) -> BlockingLimits:
        """How much of limits is taken, and who waits."""
        return BlockingLimits(self._bridge)

    @property
    def schedules(self) -> BlockingSchedules:
        """What starts runs by the clock."""
        return BlockingSchedules(self._bridge)

    @property
    def records(self) -> BlockingRecords:
        """What is recorded of runs that have ended."""
        return BlockingRecords(self._bridge)

    @property
    def driven(self) -> BlockingDriven:
        """Workflows whose runs are driven by hand."""
        return BlockingDriven(self._bridge)

    @property
    def queue(self) -> BlockingQueues:
        """A queue by its name, ``client.queue("emails")``."""
        return BlockingQueues(self._bridge)
''',
    bodies={
        "get": "return BlockingRunHandle(self._bridge, run_id_of(run_id), wf)",
        "runs": "return BlockingRuns(self._bridge, lambda client: client.runs(name=name, version=version, "
        "status=status, lane=lane, kind=kind, tags=tags, parent=parent, root=root, since=since, until=until))",
    },
)
HANDLE = Twin(
    module="holdfast.client.handle",
    name="RunHandle",
    blocking="BlockingRunHandle",
    file="handle.py",
    title="The verbs of a run, blocking.",
    reached="self._on(client)",
    body='''
def as_blocking(bridge: Bridge[Client], handle: RunHandle[T]) -> BlockingRunHandle[T]:
    """The same run, blocking."""
    return BlockingRunHandle(bridge, handle.id, handle.definition, existing=handle.existing)


class BlockingRunHandle(Generic[R_co]):
    """One run of a workflow or activity that gives ``R``, by its id, for code that is not async.

    Every verb of :class:`RunHandle`, with the same parameters, which waits and gives the result.
    """

    __slots__ = ("_bridge", "definition", "existing", "id")

    def __init__(
        self,
        bridge: Bridge[Client],
        run_id: UUID,
        definition: Definition[..., R_co] | None,
        *,
        existing: bool = False,
    ) -> None:
        self._bridge = bridge
        self.id = run_id
        self.definition = definition
        """What it is a run of, where that is known here."""
        self.existing = existing
        """Whether the start that gave this handle found a run with its key, rather than make one."""

    def _on(self, client: Client) -> RunHandle[R_co]:
        return cast("RunHandle[R_co]", client.get(self.id, self.definition))

    def __repr__(self) -> str:
        return f"<run {self.id}>" if self.definition is None else f"<run {self.id} of {self.definition.name!r}>"
''',
    bodies={
        "watch_progress": """seen: Progress | None = None
        while (seen := self.next_progress(seen)) is not None:
            yield seen""",
    },
)
SCHEDULES = Twin(
    module="holdfast.client.schedules",
    name="Schedules",
    blocking="BlockingSchedules",
    file="schedules.py",
    title="The verbs of schedules, blocking.",
    reached="client.schedules",
    body='''
class BlockingSchedules:
    """Schedules of workflows and activities, by their names: ``client.schedules``, for code that is not async.

    Every verb of :class:`Schedules`, with the same parameters, which waits and gives the result.
    """

    def __init__(self, bridge: Bridge[Client]) -> None:
        self._bridge = bridge
''',
    bodies={},
)
RUNS = Twin(
    module="holdfast.client.selection",
    name="Runs",
    blocking="BlockingRuns",
    file="runs.py",
    title="The verbs of many runs, blocking.",
    reached="self._on(client)",
    body='''
class BlockingRuns:
    """The runs that fit some filters: ``client.runs(...)``, for code that is not async.

    Every verb of :class:`Runs`, with the same parameters, which waits and gives the result.
    """

    def __init__(self, bridge: Bridge[Client], on: Callable[[Client], Runs]) -> None:
        self._bridge = bridge
        self._on = on
''',
    bodies={},
)
RECORDS = Twin(
    module="holdfast.client.records",
    name="Records",
    blocking="BlockingRecords",
    file="records.py",
    title="The verbs of records, blocking.",
    reached="client.records",
    body='''
class BlockingRecords:
    """What is recorded of runs that have ended: ``client.records``, for code that is not async.

    Every verb of :class:`Records`, with the same parameters, which waits and gives the result.
    """

    def __init__(self, bridge: Bridge[Client]) -> None:
        self._bridge = bridge
''',
    bodies={},
)
DRIVEN = Twin(
    module="holdfast.client.driven.workflows",
    name="Driven",
    blocking="BlockingDriven",
    file="driven.py",
    title="Verbs of client.driven, blocking.",
    reached="client.driven",
    body='''
class BlockingDriven:
    """Workflows whose runs are driven by hand: ``client.driven``, for code that is not async.

    Every verb of :class:`Driven`, with the same parameters, which waits and gives the result.
    """

    def __init__(self, bridge: Bridge[Client]) -> None:
        self._bridge = bridge
''',
    bodies={
        "get": "return BlockingRunHandle(self._bridge, run_id_of(run_id), None)",
        "consumer": """
        async def make(client: Client) -> DrivenConsumer:
            return client.driven.consumer(workflow, name=name, lane=lane, visibility=visibility)

        return BlockingDrivenConsumer(self._bridge, self._bridge.call(make))
        """.strip(),
    },
)
DRIVEN_CONSUMER = Twin(
    module="holdfast.client.driven.consumer",
    name="DrivenConsumer",
    blocking="BlockingDrivenConsumer",
    file="driven_consumer.py",
    title="The verbs of a consumer, blocking.",
    reached="self._consumer",
    body='''
class BlockingDrivenConsumer:
    """Takes runs of one workflow that is driven by hand, for code that is not async; as a context.

    Every verb of :class:`DrivenConsumer`, with the same parameters, which waits and gives the result. Its heartbeats go
    on in a thread of their own while the caller works.
    """

    __slots__ = ("_bridge", "_consumer", "lane", "name", "visibility", "workflow")

    def __init__(self, bridge: Bridge[Client], consumer: DrivenConsumer) -> None:
        self._bridge = bridge
        self._consumer = consumer
        self.workflow = consumer.workflow
        self.lane = consumer.lane
        self.visibility = consumer.visibility
        self.name = consumer.name

    def __enter__(self) -> Self:
        self._bridge.call(lambda _: self._consumer.__aenter__())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def runs(self) -> list[BlockingDrivenRun]:
        """What it has in hand."""
        return [BlockingDrivenRun(self._bridge, run) for run in self._consumer.runs]

    @property
    def state(self) -> ConsumerState:
        """What it is doing."""
        return self._consumer.state

    @property
    def stopped(self) -> bool:
        """Whether it was told to stop or drain: it takes nothing any more, and is to be closed."""
        return self._consumer.stopped
''',
    bodies={
        "archive": """
        if isinstance(run, BlockingDrivenRun):
            return run.archive()
        return self._bridge.call(lambda _: self._consumer.archive(run))
        """.strip(),
    },
)
DRIVEN_RUN = Twin(
    module="holdfast.client.driven.run",
    name="DrivenRun",
    blocking="BlockingDrivenRun",
    file="driven_run.py",
    title="The verbs of a driven run, blocking.",
    reached="self._run",
    body='''
class BlockingDrivenRun:
    """A run that a consumer has in hand, for code that is not async.

    Every verb of :class:`DrivenRun`, with the same parameters, which waits and gives the result.
    """

    __slots__ = (
        "_bridge",
        "_run",
        "created_at",
        "deadline",
        "headers",
        "id",
        "lane",
        "priority",
        "receipt",
        "tags",
        "workflow",
    )

    def __init__(self, bridge: Bridge[Client], run: DrivenRun) -> None:
        self._bridge = bridge
        self._run = run
        self.id = run.id
        self.receipt = run.receipt
        self.workflow = run.workflow
        self.lane = run.lane
        self.priority = run.priority
        self.tags = run.tags
        self.headers = run.headers
        self.created_at = run.created_at
        self.deadline = run.deadline

    @property
    def input(self) -> dict[str, Any]:
        """What it was triggered with."""
        return self._run.input

    @property
    def lost(self) -> bool:
        """Whether it is known that it is not in these hands any more: it was ended, or others have taken it."""
        return self._run.lost

    @property
    def over(self) -> bool:
        """Whether it was ended or given back from here."""
        return self._run.over
''',
    bodies={},
)
STEP = Twin(
    module="holdfast.client.driven.step",
    name="Step",
    blocking="BlockingStep",
    file="driven_step.py",
    title="The verbs of a step, blocking.",
    reached="self._step",
    body='''
class BlockingStep:
    """One step of a run that is driven by hand, for code that is not async.

    Every verb of :class:`Step`, with the same parameters, which waits and gives the result.
    """

    __slots__ = ("_bridge", "_step", "attempt", "idempotency_key", "key", "name", "run_id", "status")

    def __init__(self, bridge: Bridge[Client], step: Step) -> None:
        self._bridge = bridge
        self._step = step
        self.name = step.name
        self.key = step.key
        self.status = step.status
        self.attempt = step.attempt
        self.run_id = step.run_id
        self.idempotency_key = step.idempotency_key

    @property
    def value(self) -> Any:
        """The recorded result, plain JSON; None as long as there is none."""
        return self._step.value

    @property
    def error(self) -> ActivityFailed | None:
        """The recorded failure, if it is one."""
        return self._step.error
''',
    bodies={},
)
QUEUE = Twin(
    module="holdfast.client.queue",
    name="Queue",
    blocking="BlockingQueue",
    file="queue.py",
    title="The verbs of a queue, blocking.",
    reached="self._on(client)",
    body='''
class BlockingQueues:
    """Gives queues by their names: ``client.queue("emails")``; ``client.queue("emails", Email)`` has typed bodies."""

    def __init__(self, bridge: Bridge[Client]) -> None:
        self._bridge = bridge

    @overload
    def __call__(self, name: str, body: type[T], /) -> BlockingQueue[T]: ...
    @overload
    def __call__(self, name: str, body: None = None, /) -> BlockingQueue[Any]: ...
    def __call__(self, name: str, body: Any = None, /) -> BlockingQueue[Any]:
        """The queue of this name; nothing is looked up or made."""
        return BlockingQueue(self._bridge, name, body)

    def list(self) -> Sequence[QueueMetrics]:
        """How every queue stands that has messages or consumers, is paused or was configured, by their names."""
        return self._bridge.call(lambda client: client.queue.list())


class BlockingQueue(Generic[T]):
    """A queue by its name: ``client.queue("emails")``, for code that is not async.

    Every verb of :class:`Queue`, with the same parameters, which waits and gives the result.
    """

    def __init__(self, bridge: Bridge[Client], name: str, body: type[T] | None) -> None:
        self._bridge = bridge
        self._body = body
        self._name = name

    @property
    def name(self) -> str:
        """Its name."""
        return self._name

    @property
    def dead_letters(self) -> BlockingDeadLetters[T]:
        """What nobody receives any more."""
        return BlockingDeadLetters(self._bridge, self._on)

    def _on(self, client: Client) -> Queue[T]:
        return cast("Queue[T]", client.queue(self._name, cast("Any", self._body)))
''',
    bodies={
        "consume": "return BlockingConsumer(self._bridge, lambda client: self._on(client).consume(batch=batch, "
        "visibility=visibility, wait=wait, concurrency=concurrency, name=name))",
    },
)
DEAD_LETTERS = Twin(
    module="holdfast.client.dead_letters",
    name="DeadLetters",
    blocking="BlockingDeadLetters",
    file="dead_letters.py",
    title="The verbs of dead letters, blocking.",
    reached="self._on(client).dead_letters",
    body='''
class BlockingDeadLetters(Generic[T]):
    """The dead letters of one queue: ``queue.dead_letters``, for code that is not async.

    Every verb of :class:`DeadLetters`, with the same parameters, which waits and gives the result.
    """

    def __init__(self, bridge: Bridge[Client], on: Callable[[Client], Queue[T]]) -> None:
        self._bridge = bridge
        self._on = on
''',
    bodies={},
)
MESSAGE = Twin(
    module="holdfast.client.message",
    name="Message",
    blocking="BlockingMessage",
    file="message.py",
    title="The verbs of a message, blocking.",
    reached="self._on(client)",
    body='''
class BlockingMessage(Generic[T]):
    """One delivery of a message, for code that is not async.

    Every verb of :class:`Message`, with the same parameters, which waits and gives the result.
    """

    __slots__ = ("__weakref__", "_bridge", "message")

    def __init__(self, bridge: Bridge[Client], message: Message[T]) -> None:
        self._bridge = bridge
        self.message = message
        """The same, for code that is async."""

    @property
    def id(self) -> UUID:
        """The id of the message."""
        return self.message.id

    @property
    def body(self) -> T:
        """What was sent."""
        return self.message.body

    @property
    def queue(self) -> str:
        """The name of its queue."""
        return self.message.queue

    @property
    def deliveries(self) -> int:
        """How often it was delivered, this time included, since it was sent or last redriven."""
        return self.message.deliveries

    @property
    def priority(self) -> PriorityName:
        """Its class inside the queue."""
        return self.message.priority

    @property
    def sent_at(self) -> datetime:
        """When it was sent, by the database's clock."""
        return self.message.sent_at

    @property
    def headers(self) -> Mapping[str, str]:
        """What was sent with it."""
        return self.message.headers

    @property
    def is_in_hands(self) -> bool:
        """Whether it is not settled."""
        return self.message.is_in_hands

    @property
    def delivery(self) -> Delivery:
        """This delivery, as it was received."""
        return self.message.delivery

    @property
    def receipt(self) -> Receipt:
        """Its id and its hold: what the database knows this delivery by."""
        return self.message.receipt

    @property
    def ours_until(self) -> float:
        """On this process's monotonic clock: so long nobody else can have it."""
        return self.message.ours_until

    @property
    def settled(self) -> str | None:
        """What became of it here."""
        return self.message.settled

    @property
    def out_of_hands(self) -> bool:
        """Whether somebody else has it, or it was settled in a transaction of the caller's."""
        return self.message.out_of_hands

    def _on(self, client: Client) -> Message[T]:
        return self.message

    def __repr__(self) -> str:
        return repr(self.message)
''',
    bodies={},
)
WORKERS = Twin(
    module="holdfast.client.workers",
    name="Workers",
    blocking="BlockingWorkers",
    file="workers.py",
    title="The verbs of workers, blocking.",
    reached="client.workers",
    body='''
class BlockingWorkers:
    """The workers of this database and schema, wherever they run: ``client.workers``, for code that is not async.

    Every verb of :class:`Workers`, with the same parameters, which waits and gives the result.
    """

    def __init__(self, bridge: Bridge[Client]) -> None:
        self._bridge = bridge
''',
    bodies={},
)
LIMITS = Twin(
    module="holdfast.client.limits",
    name="Limits",
    blocking="BlockingLimits",
    file="limits.py",
    title="The verbs of limits, blocking.",
    reached="client.limits",
    body='''
class BlockingLimits:
    """The limits and rates that are in use, in all workers together: ``client.limits``, for code that is not async.

    Every verb of :class:`Limits`, with the same parameters, which waits and gives the result.
    """

    def __init__(self, bridge: Bridge[Client]) -> None:
        self._bridge = bridge
''',
    bodies={},
)
TWINS = (
    CLIENT,
    HANDLE,
    SCHEDULES,
    RUNS,
    RECORDS,
    DRIVEN,
    DRIVEN_CONSUMER,
    DRIVEN_RUN,
    STEP,
    WORKERS,
    LIMITS,
    QUEUE,
    DEAD_LETTERS,
    MESSAGE,
)

WRAPPED = {"DrivenConsumer": "BlockingDrivenConsumer", "DrivenRun": "BlockingDrivenRun", "Step": "BlockingStep"}
"""Objects that verbs give, and their blocking twins, each made from the bridge and the object."""

ALWAYS = {
    "Any": "typing",
    "Bridge": "holdfast.app.blocking.bridge",
    "BlockingConnection": "holdfast.integrations.catalogue",
    "BlockingDriven": "holdfast.app.blocking.driven",
    "BlockingDrivenConsumer": "holdfast.app.blocking.driven_consumer",
    "BlockingDrivenRun": "holdfast.app.blocking.driven_run",
    "BlockingRunHandle": "holdfast.app.blocking.handle",
    "as_blocking": "holdfast.app.blocking.handle",
    "of_this_thread": "holdfast.integrations.catalogue",
    "BlockingRecords": "holdfast.app.blocking.records",
    "BlockingDeadLetters": "holdfast.app.blocking.dead_letters",
    "BlockingConsumer": "holdfast.app.blocking.consumer",
    "BlockingMessage": "holdfast.app.blocking.message",
    "BlockingQueues": "holdfast.app.blocking.queue",
    "BlockingRuns": "holdfast.app.blocking.runs",
    "BlockingSchedules": "holdfast.app.blocking.schedules",
    "BlockingLimits": "holdfast.app.blocking.limits",
    "BlockingWorkers": "holdfast.app.blocking.workers",
    "BlockingStep": "holdfast.app.blocking.driven_step",
    "Callable": "collections.abc",
    "Client": "holdfast.client.client",
    "ConsumerState": "holdfast.core.queue",
    "Delivery": "holdfast.client.exchange",
    "Mapping": "collections.abc",
    "Message": "holdfast.client.message",
    "PriorityName": "holdfast.core.priority",
    "Queue": "holdfast.client.queue",
    "Receipt": "holdfast.core.queue",
    "datetime": "datetime",
    "Generic": "typing",
    "Iterator": "collections.abc",
    "RunHandle": "holdfast.client.handle",
    "Self": "typing",
    "TracebackType": "types",
    "cast": "typing",
    "overload": "typing",
    "run_id_of": "holdfast.client.handle",
    "UUID": "uuid",
}
AT_RUN_TIME = {
    "BlockingDeadLetters",
    "BlockingRecords",
    "BlockingConsumer",
    "BlockingDriven",
    "BlockingDrivenConsumer",
    "BlockingDrivenRun",
    "BlockingMessage",
    "BlockingQueues",
    "BlockingRunHandle",
    "BlockingRuns",
    "BlockingLimits",
    "BlockingWorkers",
    "BlockingSchedules",
    "BlockingStep",
    "as_blocking",
    "of_this_thread",
    "run_id_of",
}
"""Of our own modules; all others are for type checkers, but for what is a default."""


def written() -> dict[Path, str]:
    """Each file with the text that it should have."""
    return {TARGET / twin.file: _formatted(_text(twin)) for twin in TWINS}


def verbs(twin: Twin) -> dict[str, list[Function]]:
    """The public verbs of an async class, in their order: overloads first, the implementation last."""
    found: dict[str, list[Function]] = {}
    for node in _class(twin).body:
        if isinstance(node, Function) and not node.name.startswith("_") and not _is_property(node):
            found.setdefault(node.name, []).append(node)
    return found


def attributes(twin: Twin) -> set[str]:
    """The public attributes of an async class."""
    found: set[str] = set()
    for node in ast.walk(_class(twin)):
        if isinstance(node, Function) and _is_property(node):
            found.add(node.name)
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and ast.unparse(node.value) == "self":
            found.add(node.attr)
    return {name for name in found if not name.startswith("_")}


def _text(twin: Twin) -> str:
    methods = "\n".join(text for group in verbs(twin).values() for text in _methods(twin, group))
    body = f"{twin.body}\n{methods}"
    variables = "\n".join(
        ast.unparse(node)
        for node in _tree(twin).body
        if isinstance(node, ast.Assign)
        and isinstance(node.value, ast.Call)
        and ast.unparse(node.value.func) in ("TypeVar", "TypeVarTuple")
        and re.search(rf"\b{ast.unparse(node.targets[0])}\b", body)
    )
    return (
        f'"""{twin.title} Written by `./dev write` from {twin.module}: change it there."""\n\n'
        f"from __future__ import annotations\n\n{_imports(twin, variables + body)}\n\n{variables}\n\n{body}"
    )


def _methods(twin: Twin, group: list[Function]) -> Iterator[str]:
    *overloads, implementation = group
    for node in overloads:
        yield f"    @overload\n{_head(node)} ..."
    doc = _first_sentence(implementation) or f"As ``{twin.name}.{implementation.name}``."
    yield f'{_head(implementation)}\n        """{doc}"""\n        {_body(twin, implementation, bool(overloads))}\n'


def _head(node: Function) -> str:
    returned = "" if node.returns is None else f" -> {_blocking(ast.unparse(node.returns))}"
    return f"    def {node.name}({_blocking(ast.unparse(node.args))}){returned}:"


def _body(twin: Twin, node: Function, overloaded: bool) -> str:
    if node.name in twin.bodies or not isinstance(node, ast.AsyncFunctionDef):
        return twin.bodies[node.name]
    returned = ast.unparse(node.returns) if node.returns is not None else "None"
    reached = f'cast("Any", {twin.reached})' if overloaded else twin.reached
    given = "client" if "client" in twin.reached else "_"
    call = f"self._bridge.call(lambda {given}: {reached}.{node.name}({_passed(node)}))"
    first = ""
    if any(arg.arg == "connection" for arg in node.args.kwonlyargs):
        # Here, in the thread of the caller, and not in that of the bridge.
        first = "connection = of_this_thread(connection)\n        "
    if overloaded and returned != "None":
        first += f"outcome: {returned} = {call}\n        "
        call = "outcome"
    if re.fullmatch(r"RunHandle\[.*\]", returned):
        return f"{first}return as_blocking(self._bridge, {call})"
    if re.fullmatch(r"list\[RunHandle\[.*\]\]", returned):
        return f"{first}return [as_blocking(self._bridge, one) for one in {call}]"
    wrapped = re.fullmatch(r"(list\[)?(\w+)\]?", returned)
    if wrapped is not None and wrapped[2] in WRAPPED:
        blocking = WRAPPED[wrapped[2]]
        many = wrapped[1] is not None
        return f"{first}return " + (
            f"[{blocking}(self._bridge, one) for one in {call}]" if many else f"{blocking}(self._bridge, {call})"
        )
    if re.fullmatch(r"list\[Message\[.*\]\]", returned):
        return f"{first}return [BlockingMessage(self._bridge, one) for one in {call}]"
    if "RunHandle[" in returned or "Iterator" in returned or "Iterable" in returned:
        raise NotImplementedError(f"{twin.name}.{node.name} gives {returned}: say here how that becomes blocking")
    return f"{first}return {call}" if returned != "None" else f"{first}{call}"


def _passed(node: Function) -> str:
    arguments = node.args
    parts = [_unwrapped(arg) for arg in (*arguments.posonlyargs, *arguments.args)][1:]
    if arguments.vararg is not None:
        parts.append(f"*{arguments.vararg.arg}")
    parts += [f"{arg.arg}={arg.arg}" for arg in arguments.kwonlyargs]
    if arguments.kwarg is not None:
        parts.append(f"**{arguments.kwarg.arg}")
    return ", ".join(parts)


def _unwrapped(arg: ast.arg) -> str:
    """The argument, as the async verb takes it."""
    annotation = "" if arg.annotation is None else ast.unparse(arg.annotation)
    return f"[one.message for one in {arg.arg}]" if annotation == "Sequence[Message[T]]" else arg.arg


def _blocking(text: str) -> str:
    text = text.replace("CallersConnection", "BlockingConnection").replace("AsyncIterator[", "Iterator[")
    text = re.sub(rf"\b({'|'.join(WRAPPED)})\b", lambda found: WRAPPED[found[1]], text)
    text = re.sub(r"\b(Message|Consumer)\[", r"Blocking\1[", text)
    return re.sub(r"\bRuns\b", "BlockingRuns", re.sub(r"\bRunHandle\[", "BlockingRunHandle[", text))


def _first_sentence(node: Function) -> str:
    paragraph = " ".join((ast.get_docstring(node) or "").partition("\n\n")[0].split())
    sentence = re.split(r"(?<=[.!?])\s+(?=[A-Z`])", paragraph)[0]
    while len(sentence) > LONGEST:
        # The end of a clause, so that it fits a line.
        sentence = re.sub(r"[,;:][^,;:]*$", "", sentence) + "."
    return sentence


def _imports(twin: Twin, body: str) -> str:
    """An import for each name that the text uses: from where the async class has it, or as it is said above."""
    known = {**_bound(twin), **ALWAYS}
    code = re.sub(r'"""(.|\n)*?"""', "", body)
    used = {name for name in known if re.search(rf"(?<![.\w]){name}\b", code)} - _defined(twin)
    lines: list[str] = []
    hidden: list[str] = []
    for name in sorted(used):
        line = f"from {known[name]} import {name}"
        ours = known[name].startswith("holdfast")
        (hidden if ours and name not in AT_RUN_TIME | _defaults(twin) else lines).append(line)
    if hidden:
        lines.append("from typing import TYPE_CHECKING")
    return "\n".join(lines) + "\n\nif TYPE_CHECKING:\n" + "\n".join(f"    {line}" for line in hidden)


def _defined(twin: Twin) -> set[str]:
    return set(re.findall(r"^(?:class|def) (\w+)", twin.body, re.MULTILINE))


def _defaults(twin: Twin) -> set[str]:
    functions = [node for group in verbs(twin).values() for node in group]
    defaults = [one for node in functions for one in (*node.args.defaults, *node.args.kw_defaults) if one is not None]
    return {name.id for default in defaults for name in ast.walk(default) if isinstance(name, ast.Name)}


def _bound(twin: Twin) -> dict[str, str]:
    """What the module of the class imports or defines, and from where."""
    found: dict[str, str] = {}
    for node in ast.walk(_tree(twin)):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {alias.asname or alias.name: node.module for alias in node.names}
        elif isinstance(node, ast.ClassDef):
            found[node.name] = twin.module
    for node in _tree(twin).body:
        if isinstance(node, ast.Assign | ast.AnnAssign):
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            name = ast.unparse(target)
            if not re.fullmatch(r"[A-Z][a-z]?|[A-Z]_co", name):
                found[name] = twin.module
    return found


def _is_property(node: Function) -> bool:
    return any(ast.unparse(one) == "property" for one in node.decorator_list)


def _class(twin: Twin) -> ast.ClassDef:
    (found,) = [node for node in _tree(twin).body if isinstance(node, ast.ClassDef) and node.name == twin.name]
    return found


def _tree(twin: Twin) -> ast.Module:
    return ast.parse((ROOT / "src" / Path(*twin.module.split("."))).with_suffix(".py").read_text(encoding="utf-8"))


def _formatted(text: str) -> str:
    for arguments in (("check", "--fix-only", "--select", "I,F401,UP,RUF", "-"), ("format", "-")):
        command = [
            sys.executable,
            "-m",
            "ruff",
            *arguments,
            "--stdin-filename",
            "src/holdfast/app/blocking/x.py",
            "--quiet",
        ]
        text = subprocess.run(command, input=text, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return text


if __name__ == "__main__":
    for path, text in written().items():
        path.write_text(text, encoding="utf-8")
        print(path.relative_to(ROOT))
