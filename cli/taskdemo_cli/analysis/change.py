"""What to write instead of a call that holds others up, and the rule of ruff that finds it in the source. Pure."""

from collections.abc import Mapping
from typing import Final

from taskdemo_cli.recording.sightings import Observation

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
    "logging": "logging.handlers.QueueHandler",
    "paramiko": "asyncssh",
    "elasticsearch": "elasticsearch.AsyncElasticsearch",
    "openai": "openai.AsyncOpenAI",
    "anthropic": "anthropic.AsyncAnthropic",
}
"""The package whose calls wait, and what does the same without blocking the loop."""
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
"""By what is called: what to write instead, and ruff's rule."""
HTTP_CALLS: Final = frozenset({"requests", "urllib3", "urllib", "httpx"})
STEPS: Final[Mapping[str, str]] = {
    "serialising": "Answer less at a time (pages), or return a Response whose content is bytes: FastAPI encodes others"
    " itself",
    "validating": "Take less at a time, or read the body yourself (`request.stream()`) and check it in a thread",
    "compressing": "Compress less (a greater minimum_size, a smaller compresslevel), or let a proxy in front do it",
}
"""By how the place of a framework's own step begins: what to do instead."""
ALONE: Final = 0.5
"""Code that left the interpreter to others for this share of its time is no code of Python's."""


def change_for(seen: Observation, *, waits: bool) -> tuple[str, str | None]:
    """Return what to write instead, and ruff's rule where it sees this call: one that an `async def` makes itself."""
    for doing, instead in STEPS.items():
        if seen.place.startswith(doing):
            return instead, None
    call = (seen.call or "").partition(" -> ")[0]
    endpoint = (seen.caller or seen.place).rpartition(" in ")[2].partition(" ")[0]
    plain = f", or make {endpoint} a plain `def`" if seen.may_be_plain else ""
    # A call of many may take next to nothing: it is the loop that computes.
    first, what = "make a function of what computes there, and ", "function"
    if seen.function and not seen.in_loop:
        first, what = "", seen.function
    threaded = "`await asyncio.to_thread(function, ...)`, the function being what waits there"
    if seen.function:
        threaded = f"`await asyncio.to_thread({seen.function}, ...)`"
    if not waits and seen.free_s >= ALONE * seen.seconds:
        thread = f"{first}`await asyncio.to_thread({what}, ...)`"
        return f"It computes without the interpreter, so a thread will do: {thread}{plain}", None
    if not waits and seen.of == "thread":
        process = f"{first}`process_pool.submit({what}, ...).result()`"
        return f"Computing needs a process: {process}, or a task queue; threads share the interpreter", None
    if not waits:
        process = f"{first}`await loop.run_in_executor(process_pool, {what}, ...)`"
        return f"Computing needs a process: {process}, or a task queue; a thread would share the interpreter", None
    if seen.in_line and seen.library in {None, "threading"}:
        return f"A lock of threads blocks the event loop: use `asyncio.Lock`, or write {threaded}", None
    if call.endswith(".result"):
        return "Await the coroutine or the future itself: the event loop cannot run what it waits for", None
    direct = seen.caller is None
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
