"""Every option of the command line, once: its name, help, panel and validator.

A command adds the type and the default: `count: Annotated[int, options.COUNT] = 5`.
"""

import functools
import os
from collections.abc import Callable, Mapping
from typing import Any, Final

import typer

from taskdemo_cli.commands import checks
from taskdemo_server.contract.modes import DEFAULT_MODES, ENGINES, GROUPS, MODE_BY_NAME, MODES, NEEDS
from taskdemo_server.contract.settings import BUILT_IN_WORKS, MOST_PROCESSES

SHORT: Final[dict[str, str]] = {}
"""The short name of each option that has one."""


def _option(
    panel: str,
    names: str,
    metavar: str | None,
    text: str,
    check: Callable[[str, Any], Any] | None = None,
    *,
    repeatable: bool = False,
    **details: Any,
) -> Any:
    name, *short = names.split()
    if short:
        SHORT[name] = short[0]
    if check is not None:

        def parse(given: str) -> Any:
            return check(name, given)

        details["parser"] = parse
    if repeatable:
        text += " Repeatable."
        details |= {"callback": _one_per_line(name), "allow_from_autoenv": False}
    # Every option has its environment variable; naming each would double the length of the help.
    return typer.Option(name, *short, metavar=metavar, help=text, rich_help_panel=panel, show_envvar=False, **details)


def _one_per_line(name: str) -> Callable[[typer.Context, list[str] | None], list[str]]:
    """Return a callback that lets a variable hold several values, one per line: Typer would split at every space."""
    variable = name.removeprefix("--").replace("-", "_").upper()

    def read(ctx: typer.Context, given: list[str] | None) -> list[str]:
        if not given and ctx.auto_envvar_prefix is not None:
            text = os.environ.get(f"{ctx.auto_envvar_prefix}_{variable}", "")
            return [line for line in text.splitlines() if line.strip()]
        return list(given or ())

    return read


def _completing(names: Mapping[str, str]) -> Callable[[str], list[tuple[str, str]]]:
    """Return a shell completion for these names, each with its meaning."""

    def complete(incomplete: str) -> list[tuple[str, str]]:
        return [(name, meaning) for name, meaning in names.items() if name.startswith(incomplete)]

    return complete


def _complete_modes(incomplete: str) -> list[str]:
    done, comma, last = incomplete.rpartition(",")
    return [f"{done}{comma}{name}" for name in (*MODE_BY_NAME, *GROUPS) if name.startswith(last)]


_MODES = ", ".join(MODE_BY_NAME)
_MODE: dict[str, Any] = {
    "check": checks.mode,
    "autocompletion": _completing({mode.name: mode.expect for mode in MODES}),
}
_WORKS, _NEEDS = dict.fromkeys(BUILT_IN_WORKS, ""), {name: f"it {need.text}" for name, need in NEEDS.items()}
_BROKER = "Broker of the queue engine, e.g. redis://, amqp:// or postgresql://."

# Each: its names, its metavar, its help and its validator.

_work = functools.partial(_option, "The slow work")
MODE = _work("--mode -m", "M", f"How to run the slow work: {_MODES}.", **_MODE)
PRIVATE_MODE = _work(
    "--mode -m", "M", f"Start a private server in this mode, fire at it, and stop it: {_MODES}.", **_MODE
)
MODE_LIST = _work(
    "--modes",
    "A,B,...",
    f"Modes to run: queues (the queue engines), all, or some of {_MODES}.",
    autocompletion=_complete_modes,
    show_default=f"all up to {DEFAULT_MODES[-1]} that are installed",
)
DURATION = _work("--duration -d", "S", "How long the slow work takes: 2, 500ms, 1m.", checks.seconds)
WORK = _work(
    "--work -w", "W", "sleep, cpu, or your own module:function.", checks.work, autocompletion=_completing(_WORKS)
)
NEED = _work(
    "--need",
    "NAME",
    f"Recommend a mode that meets this need: {', '.join(NEEDS)}.",
    autocompletion=_completing(_NEEDS),
    repeatable=True,
)

_server = functools.partial(_option, "The server")
HOST = _server("--host", "ADDRESS", "Address to listen on.")
PORT = _server("--port -p", "N", "Port to listen on; 0 takes a free one.", checks.port)
WORKERS = _server("--workers", "N", "Server processes that share the port.", checks.process_count)
THREADS = _server("--threads", "N", "Worker threads of each server process (AnyIO's limit).", checks.count)
PROCESSES = _server(
    "--processes",
    "N",
    "Tasks that mode process, or a queue engine's worker, runs at once.",
    checks.process_count,
    show_default=f"one per CPU, at most {MOST_PROCESSES}",
)
MAX_PENDING = _server(
    "--max-pending", "N", "Unfinished tasks that each server process accepts; further requests get 503.", checks.count
)
JOURNAL = _server("--journal", "FILE", "Write the record of every task to this file.", show_default="a temporary file")
TOKEN = _server(
    "--token", "T", "Secret for following the tasks of a server that listens beyond loopback.", checks.token
)
REPORT_TO = _server(
    "--server", "URL", "Server to report tasks to.", show_default="none: the server asks the result backend"
)

_engine = functools.partial(_option, "The queue engine")
ENGINE = _engine("--engine", "NAME", f"The queue engine: {', '.join(ENGINES)}.", checks.engine)
BROKER = _engine("--broker", "URL", _BROKER, show_default="a private one")
WORKER_BROKER = _engine("--broker", "URL", _BROKER)
BACKEND = _engine("--backend", "URL", "Result backend of the queue engine.", show_default="follows --broker")
QUEUE = _engine(
    "--queue", "NAME", "Task queue: the same for a server and its workers, another for each server.", checks.queue
)

_send = functools.partial(_option, "What to send")
COUNT = _send("--count -n", "N", "Requests to send.", checks.count)
SCAN_COUNT = _send("--count -n", "N", "Requests to send to each endpoint, all at once.", checks.count)
ROUNDS = _send("--rounds", "N", "Run every mode N times, in changing order.", checks.count)
COLD = _send("--cold", None, "Skip the warm-up: uncounted requests, without work, before each measurement.")
FOR = _send(
    "--for", "S", "Send for this long, not --count: 10, 90s, 2m.", checks.seconds_above_0, envvar="TASKDEMO_FIRE_FOR"
)
CONCURRENCY = _send(
    "--concurrency -c", "N", "Maximum requests in flight.", checks.count, show_default="all at once; 50 with --for"
)
RATE = _send("--rate", "R", "Send R requests per second, however slow the responses are (open loop).", checks.rate)
MESSAGE = _send("--message", "TEXT", "The task's argument; {n} is the request's number.")
METHOD = _send("--method -X", "NAME", "HTTP method.", show_default="GET; POST with --body")
HEADER = _send(
    "--header -H", "'NAME: VALUE'", "Header to send with each request; no report shows its value.", repeatable=True
)
BODY = _send("--body", "TEXT|@FILE", "Body of each request; {n} in TEXT is the request's number. JSON is sent as JSON.")
FORM = _send("--form", "NAME=VALUE|@FILE", "Form field to send as the body; @FILE uploads a file.", repeatable=True)
TIMEOUT = _send(
    "--timeout", "S", "End a burst this long after its first send; unanswered requests fail.", checks.seconds_above_0
)
REQUEST_TIMEOUT = _send(
    "--request-timeout", "S", "Give up on a request this long after sending it; it fails.", checks.seconds_above_0
)
NO_WAIT = _send("--no-wait", None, "Do not wait for accepted tasks to end.")

_rate = functools.partial(_option, "The rates")
WHILE = _rate("--while", "EXPR", "Condition that a sustained rate must meet: 'response.p95 < 200ms'.", repeatable=True)
FROM = _rate(
    "--from",
    "R",
    "Requests per second of the first step.",
    checks.rate,
    envvar="TASKDEMO_CAPACITY_FROM",
    show_default="a little below the calculated limit",
)
TO = _rate("--to", "R", "Highest rate to try.", checks.rate, show_default="until it gives in")
STEP = _rate(
    "--step", "S", "How long to measure each rate once it has settled; at least twice the work.", checks.seconds_above_0
)

_target = functools.partial(_option, "Where to")
TARGET_PORT = _target("--port -p", "N", "Fire at the server on this port.", checks.used_port, show_default="8000")
TARGET_URL = _target("--url", "URL", "Fire at any HTTP server; :8000/x means this machine.")
APP = _target(
    "--app", "APP", "Start your own application: main.py, package.module:app, a factory, or a folder.", checks.app
)
PATH = _target("--path", "PATH", "Path to request, after that of --url; {n} is the request's number.", show_default="/")

_result = functools.partial(_option, "The result")
_MET = "Exit with code 99 if this condition is met, e.g. "
JSON = _result("--json", None, "Print one JSON document to stdout; progress goes to stderr.")
SAVE = _result("--save", "FILE", "Save the result as .json, .csv, .md or .svg.", repeatable=True)
HTML = _result("--html", "FILE", "Save the result as one self-contained page.")
FAIL_IF = _result("--fail-if", "EXPR", f"{_MET}'response.p95 > 200ms'.", repeatable=True)
FAIL_IF_CAPACITY = _result("--fail-if", "EXPR", f"{_MET}'sustained < 300'.", repeatable=True)
FAIL_IF_BLOCKING = _result("--fail-if-blocking", None, "Exit with code 99 if an endpoint holds up everybody.")
SAVED_RESULT = typer.Argument(metavar="FILE.json", help="A result written by --save FILE.json.")
OLD_RESULT = typer.Argument(metavar="OLD.json", help="A saved result to compare; nothing is run.")
NEW_RESULT = typer.Argument(metavar="NEW.json", help="The saved result to compare it with.")
