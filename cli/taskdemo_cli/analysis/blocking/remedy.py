"""What to write instead of a call that holds others up, and the ruff rule that finds such a call. Pure."""

from collections.abc import Mapping
from typing import Final

from taskdemo_server.contract.sightings import FrameworkStep, Observation

ASYNC_CLIENTS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("requests", "urllib3", "urllib", "http", "httpx"), "httpx.AsyncClient"),
    "psycopg": "psycopg.AsyncConnection",
    "psycopg2": "psycopg.AsyncConnection",
    "psycopg_pool": "psycopg_pool.AsyncConnectionPool",
    "sqlalchemy": "sqlalchemy.ext.asyncio",
    "sqlite3": "aiosqlite",
    "pymysql": "asyncmy",
    "pymongo": "pymongo.AsyncMongoClient",
    "redis": "redis.asyncio",
    "valkey": "valkey.asyncio",
    **dict.fromkeys(("boto3", "botocore"), "aioboto3"),
    "smtplib": "aiosmtplib",
    "paramiko": "asyncssh",
    "elasticsearch": "elasticsearch.AsyncElasticsearch",
    "openai": "openai.AsyncOpenAI",
    "anthropic": "anthropic.AsyncAnthropic",
}
"""Packages whose calls wait, and what does the same without blocking the loop."""
CALLS: Final[Mapping[str, tuple[str, str | None]]] = {
    "time.sleep": ("`await asyncio.sleep(...)`", "ASYNC251"),
    **dict.fromkeys(
        (f"subprocess.{name}" for name in ("run", "call", "check_call", "check_output")),
        ("`await asyncio.create_subprocess_exec(...)`", "ASYNC221"),
    ),
    "subprocess.Popen": ("`await asyncio.create_subprocess_exec(...)`", "ASYNC220"),
    "os.system": ("`await asyncio.create_subprocess_shell(...)`", "ASYNC221"),
    "os.popen": ("`await asyncio.create_subprocess_shell(...)`", "ASYNC220"),
    **dict.fromkeys(("socket.getaddrinfo", "socket.gethostbyname"), ("`await loop.getaddrinfo(...)`", None)),
    "socket.create_connection": ("`await asyncio.open_connection(...)`", None),
    "open": ("`await anyio.open_file(...)`", "ASYNC230"),
    "input": ("`await asyncio.to_thread(input)`", "ASYNC250"),
}
"""Calls, what to write instead of them, and ruff's rule."""
OF_A_NEW_POOL: Final = frozenset(
    ("multiprocessing.BaseProcess.start", "multiprocessing.Pool.__exit__", "concurrent.Executor.__exit__")
)
"""What a pool does that is made and ended in an endpoint."""
CURSORS: Final = frozenset({"commit", "execute", "executemany", "executescript", "fetchall"})
"""Methods that database drivers implement in C: a stack does not show which library they belong to."""
IN_C: Final = (
    "Use an async driver of that database, or connect and ask in one function: `await asyncio.to_thread(function, ...)`"
)
"""What to do about those: a connection may belong to the thread that opened it."""
HTTP_CALLS: Final = frozenset({"requests", "urllib3", "urllib", "httpx"})
STEPS: Final[Mapping[FrameworkStep, str]] = {
    "serialising": "Return less at a time (pages), or a Response whose content is bytes: FastAPI encodes others itself",
    "validating": "Take less at a time, or read the body yourself (`request.stream()`) and check it in a thread",
    "compressing": "Compress less (a greater minimum_size, a smaller compresslevel), or let a proxy in front do it",
}
"""What to do about a framework's own step."""
ALONE: Final = 0.9
"""Code that left the interpreter to others for this share of its time is not Python code.

Python code seems to leave it, too, where its thread has passed it on and then waits long for a processor.
"""


def change_for(seen: Observation, *, waits: bool) -> tuple[str, str | None]:
    """Return what to write instead, and ruff's rule if it finds this call: one directly in an `async def`."""
    change, rule = _change(seen, waits=waits)
    if seen.is_plain and seen.of != "thread" and "`await " in change:
        where = "do this in an `async def` (the endpoint, a dependency)"
        return f"{seen.within} is a plain `def`, which cannot await: {where}. {change}", None
    return change, rule


def only_waits(seen: Observation) -> bool:
    """Return whether the call only waits: it computes nothing, however long it waits for a processor as it wakes."""
    return seen.calling == "time.sleep"


def _change(seen: Observation, *, waits: bool) -> tuple[str, str | None]:
    if seen.step is not None:
        return STEPS[seen.step], None
    if seen.by_now == "ssl.load_verify_locations":
        return (
            "Make one client at startup (in the lifespan), and share it: each new one loads all certificates again",
            None,
        )
    if seen.by_now in OF_A_NEW_POOL:
        return "Make one pool at startup (in the lifespan), and share it: each new one is started and waited for", None
    call = seen.call or ""
    plain = f", or make {seen.within} a plain `def`" if seen.may_be_plain else ""
    threaded = f"`await asyncio.to_thread({seen.function or 'function'}, ...)`"
    if seen.library == "logging":
        return "Log less there, or let a separate thread write the lines (logging.handlers.QueueHandler)", None
    if call.startswith("asyncio.create_subprocess"):
        return "Start fewer at once (asyncio.Semaphore), or keep one running: each start blocks the loop", None
    if not waits:
        # A single call in a loop may be quick: it is the loop that computes. And no process can be sent a request.
        is_one = seen.function and not (seen.in_loop or seen.function.endswith(".TemplateResponse"))
        first, what = ("", seen.function) if is_one else ("make a function of what computes there, and ", "function")
        if seen.free_s >= ALONE * seen.seconds:
            if seen.library is None and call.rpartition(".")[2] in CURSORS and seen.of != "thread":
                return IN_C, None
            thread = f"{first}`await asyncio.to_thread({what}, ...)`"
            return f"It computes without the interpreter, so a thread will do: {thread}{plain}", None
        process, threads = f"await loop.run_in_executor(process_pool, {what}, ...)", "a thread would share"
        if seen.of == "thread":
            process, threads = f"process_pool.submit({what}, ...).result()", "threads share"
        return f"Computing needs a process: {first}`{process}`, or a task queue; {threads} the interpreter", None
    if not seen.function:
        threaded += ", where function is the call that waits"
    if seen.in_line and seen.library in {None, "threading"}:
        return f"A lock of threads blocks the event loop: use `asyncio.Lock`, or write {threaded}", None
    if call.endswith(".result"):
        return "Await the coroutine itself, or `await asyncio.wrap_future(...)` around an executor's future", None
    direct = seen.caller is None
    if seen.library is None and call.rpartition(".")[2] in CURSORS:
        return IN_C, None
    if call in CALLS:
        instead, rule = CALLS[call]
        return f"Write {instead if direct else threaded}{plain}", rule if direct else None
    client = ASYNC_CLIENTS.get(seen.library or call.partition(".")[0])
    ways = f"{client}, or {threaded}{plain}" if client else f"{threaded}{plain}"
    return f"{'Use' if client else 'Write'} {ways}", _rule(seen, call) if direct else None


def _rule(seen: Observation, call: str) -> str | None:
    if call.partition(".")[0] in HTTP_CALLS:
        return "ASYNC210"
    return "ASYNC212" if seen.library == "httpx" else None
