"""What is not the same on every replay, by its full name, and what to use instead."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

_NOW = "use holdfast.now(), which is the same on every replay"
_SLEEP = "use await holdfast.sleep() or asyncio.sleep(), which costs a row and blocks nobody"
_RANDOM = "use holdfast.random(), which is the same on every replay"
_UUID = "use holdfast.uuid4(), which is the same on every replay"
_SECRET = "make secrets in an activity: its outcome is recorded"  # noqa: S105 - an advice
_FILES = "read and write files in an activity"
_NETWORK = "use the network in an activity"
_DATABASE = "use databases in an activity"
_PROCESS = "start processes in an activity"
_THREAD = "call an activity; one that is not async runs in a thread of the worker"
_SETTING = "give it to the run as an argument, or read it in an activity"
_SIGNAL = "wait for a Signal"
_IDENTITY = "it differs between processes; use what is compared itself, or a digest from hashlib"


@dataclass(frozen=True, slots=True)
class Rule:
    """What is said of a name. ``arguments``: with so many of them, it depends on nothing else, and is fine."""

    rule: str
    what: str
    instead: str
    arguments: int | None = None


_EXACT: dict[str, Rule] = {}
_PREFIXES: dict[str, Rule] = {}


def _names(rule: str, what: str, instead: str, names: Iterable[str], *, arguments: int | None = None) -> None:
    for name in names:
        _EXACT[name] = Rule(rule, what, instead, arguments)


def _within(rule: str, what: str, instead: str, modules: Iterable[str]) -> None:
    for module in modules:
        _PREFIXES[module] = Rule(rule, what, instead)


_names(
    "clock",
    "reads the clock",
    _NOW,
    (
        *("time.time", "time.time_ns", "time.monotonic", "time.monotonic_ns", "time.perf_counter"),
        *(
            "time.perf_counter_ns",
            "time.process_time",
            "time.process_time_ns",
            "time.thread_time",
            "time.clock_gettime",
        ),
        *("datetime.datetime.now", "datetime.datetime.utcnow", "datetime.datetime.today", "datetime.date.today"),
    ),
)
_names(
    "clock",
    "reads the clock",
    _NOW,
    ("time.localtime", "time.gmtime", "time.ctime", "time.asctime"),
    arguments=1,
)
_names("clock", "reads the clock", _NOW, ("time.strftime",), arguments=2)
_names("clock", "blocks the worker, and its time is not the run's", _SLEEP, ("time.sleep",))
_within("random", "is random anew on each replay", _RANDOM, ("random", "numpy.random"))
_names("random", "begins with another seed on each replay", _RANDOM, ("random.Random",), arguments=1)
_names("random", "begins with another seed on each replay", _RANDOM, ("numpy.random.default_rng",), arguments=1)
_within("random", "is random anew on each replay", _SECRET, ("secrets",))
_names("random", "is random anew on each replay", _SECRET, ("os.urandom", "os.getrandom", "random.SystemRandom"))
_names("random", "is another one on each replay", _UUID, (f"uuid.uuid{n}" for n in (1, 4, 6, 7, 8)))
_names("random", "is another one on each machine", _UUID, ("uuid.getnode",))
_names("io", "opens a file", _FILES, ("open", "io.open", "io.open_code", "os.open"))
_names("io", "waits for a terminal", _SIGNAL, ("input", "getpass.getpass"))
_names(
    "io",
    "asks the file system",
    _FILES,
    (
        f"os.{name}"
        for name in (
            *("listdir", "scandir", "walk", "stat", "lstat", "mkdir", "makedirs", "remove", "unlink", "rename"),
            *("replace", "rmdir", "removedirs", "truncate", "chmod", "chown", "link", "symlink", "readlink", "access"),
            *("getcwd", "chdir", "read", "write", "utime", "path.exists", "path.isfile", "path.isdir"),
            *("path.getsize", "path.getmtime", "path.getatime", "path.getctime", "path.realpath", "path.abspath"),
        )
    ),
)
_names(
    "io",
    "asks the file system",
    _FILES,
    (
        f"pathlib.Path.{name}"
        for name in (
            *("open", "read_text", "read_bytes", "write_text", "write_bytes", "exists", "is_file", "is_dir", "stat"),
            *("lstat", "iterdir", "glob", "rglob", "walk", "mkdir", "rmdir", "unlink", "touch", "rename", "replace"),
            *("chmod", "owner", "group", "resolve", "absolute", "cwd", "home", "expanduser", "samefile", "is_symlink"),
        )
    ),
)
_within("io", "asks the file system", _FILES, ("shutil", "tempfile", "glob", "fileinput", "linecache", "aiofiles"))
_within(
    "network",
    "uses the network",
    _NETWORK,
    (
        *("socket", "socketserver", "ssl", "select", "selectors", "urllib.request", "urllib3", "http.client"),
        *("http.server", "smtplib", "ftplib", "imaplib", "poplib", "nntplib", "telnetlib", "xmlrpc", "webbrowser"),
        *("requests", "httpx", "aiohttp", "websockets", "paramiko", "grpc", "boto3", "botocore", "aioboto3", "stripe"),
        *(
            "openai",
            "anthropic",
            "kafka",
            "confluent_kafka",
            "aiokafka",
            "pika",
            "aio_pika",
            "nats",
            "zmq",
            "kubernetes",
        ),
    ),
)
_names("network", "uses the network", _NETWORK, (f"asyncio.{n}" for n in ("open_connection", "start_server")))
_names("network", "uses the network", _NETWORK, (f"asyncio.{n}" for n in ("open_unix_connection", "start_unix_server")))
_within(
    "database",
    "uses a database",
    _DATABASE,
    (
        *("sqlite3", "aiosqlite", "psycopg", "psycopg2", "psycopg_pool", "asyncpg", "aiopg", "pymysql", "MySQLdb"),
        *("aiomysql", "mysql", "oracledb", "pymongo", "motor", "redis", "aioredis", "elasticsearch", "dbm", "shelve"),
        *("sqlalchemy.engine", "sqlalchemy.ext.asyncio", "sqlalchemy.orm.session", "django.db"),
    ),
)
_names("database", "uses a database", _DATABASE, ("sqlalchemy.create_engine",))
_within("process", "starts a process", _PROCESS, ("subprocess", "multiprocessing", "pty"))
_names(
    "process",
    "has to do with processes",
    _PROCESS,
    (
        *(f"os.{name}" for name in ("system", "popen", "fork", "forkpty", "kill", "killpg", "posix_spawn", "wait")),
        *(f"os.exec{letters}" for letters in ("l", "le", "lp", "lpe", "v", "ve", "vp", "vpe")),
        *(f"os.spawn{letters}" for letters in ("l", "le", "lp", "lpe", "v", "ve", "vp", "vpe")),
        *("asyncio.create_subprocess_exec", "asyncio.create_subprocess_shell", "signal.signal", "os.waitpid"),
    ),
)
_within("thread", "has to do with threads", _THREAD, ("threading", "concurrent.futures", "_thread", "queue"))
_names(
    "thread",
    "runs in a thread or on another event loop",
    _THREAD,
    (f"asyncio.{name}" for name in ("to_thread", "run", "run_coroutine_threadsafe", "new_event_loop", "Runner")),
)
_names(
    "environment",
    "differs between machines",
    _SETTING,
    (
        *(
            "os.environ",
            "os.environb",
            "os.getenv",
            "os.getpid",
            "os.getppid",
            "os.getlogin",
            "os.uname",
            "os.cpu_count",
        ),
        *("sys.argv", "os.getuid", "os.cpu_count", "os.getloadavg", "os.times"),
    ),
)
_within("environment", "differs between machines", _SETTING, ("platform", "pwd", "getpass", "locale"))
_names("identity", "is another number in each process", _IDENTITY, ("id", "hash"))

ALSO_UNCALLED = frozenset({"os.environ", "os.environb", "sys.argv"})
"""What is read without being called."""

METHODS: dict[str, Rule] = {
    "run_in_executor": Rule("thread", "runs in a thread", _THREAD),
    "read_text": Rule("io", "reads a file", _FILES),
    "write_text": Rule("io", "writes a file", _FILES),
    "read_bytes": Rule("io", "reads a file", _FILES),
    "write_bytes": Rule("io", "writes a file", _FILES),
}
"""Methods that say enough by their names, whatever they are called on."""

_OTHER_NAMES = {
    "posix.": "os.",
    "posixpath.": "os.path.",
    "ntpath.": "os.path.",
    "nt.": "os.",
    "_io.": "io.",
    "_socket.": "socket.",
    "_thread.": "threading.",
    "_random.": "random.",
    "_sqlite3.": "sqlite3.",
    "builtins.": "",
    "pathlib._local.": "pathlib.",
    "pathlib._abc.": "pathlib.",
    "asyncio.threads.": "asyncio.",
    "asyncio.runners.": "asyncio.",
    "asyncio.streams.": "asyncio.",
    "asyncio.subprocess.": "asyncio.",
    "asyncio.tasks.": "asyncio.",
    "asyncio.events.": "asyncio.",
}


def plain_name(name: str) -> str:
    """The name that people use for a function of the standard library, whatever file it is written in."""
    for prefix, other in _OTHER_NAMES.items():
        if name.startswith(prefix):
            return plain_name(other + name[len(prefix) :])
    if name.startswith(("pathlib.PosixPath.", "pathlib.WindowsPath.")):
        return "pathlib.Path." + name.rpartition(".")[2]
    return "open" if name == "io.open" else name


def rule_for(name: str) -> Rule | None:
    """What is to be said of this full name, if anything."""
    if name in _EXACT:
        return _EXACT[name]
    module = name
    while "." in module:
        module = module.rpartition(".")[0]
        if module in _PREFIXES:
            return _PREFIXES[module]
    return None
