"""Every option of the command line, once: its name, help, panel, and what checks its value.

A command says of which type an option is there, and its default: `count: Annotated[int, options.COUNT] = 5`.
"""

import copy
import functools
import os
from collections.abc import Callable
from typing import Any

import typer

from taskdemo_cli.commands import checks
from taskdemo_server.contract.modes import DEFAULT_MODES, ENGINES, GROUPS, MODE_BY_NAME, MODES, NEEDS
from taskdemo_server.contract.settings import BUILT_IN_WORKS, MOST_PROCESSES


def _option(panel: str, *names: str, check: Callable[[str, Any], Any] | None = None, **details: Any) -> Any:
    if check is not None:

        def parse(text: str) -> Any:
            return check(names[0], text)

        details["parser"] = parse
    # Every option has its environment variable; naming each would double the length of the help.
    return typer.Option(*names, rich_help_panel=panel, show_envvar=False, **details)


def with_default_text(option: Any, default: str) -> Any:
    """Return the option with this default in its help, for a command that must see whether it was given."""
    option = copy.copy(option)
    option.show_default = default
    return option


def _complete_mode(incomplete: str) -> list[tuple[str, str]]:
    return [(mode.name, mode.expect) for mode in MODES if mode.name.startswith(incomplete)]


def _complete_modes(incomplete: str) -> list[str]:
    done, comma, last = incomplete.rpartition(",")
    return [f"{done}{comma}{name}" for name in (*MODE_BY_NAME, *GROUPS) if name.startswith(last)]


def _complete_need(incomplete: str) -> list[tuple[str, str]]:
    return [(name, f"it {need.text}") for name, need in NEEDS.items() if name.startswith(incomplete)]


def _complete_work(incomplete: str) -> list[str]:
    return [work for work in BUILT_IN_WORKS if work.startswith(incomplete)]


def _one_per_line(variable: str) -> dict[str, Any]:
    """Return what lets a repeatable option's environment variable hold one value per line.

    Typer would cut it at every space.
    """

    def read(ctx: typer.Context, given: list[str] | None) -> list[str]:
        if not given and ctx.auto_envvar_prefix is not None:
            text = os.environ.get(f"{ctx.auto_envvar_prefix}_{variable}", "")
            return [line for line in text.splitlines() if line.strip()]
        return list(given or ())

    return {"callback": read, "allow_from_autoenv": False}


_MODES = ", ".join(MODE_BY_NAME)
_COUNT: dict[str, Any] = {"metavar": "N", "check": checks.count}
_PROCESS_COUNT: dict[str, Any] = {"metavar": "N", "check": checks.process_count}
_SECONDS: dict[str, Any] = {"metavar": "S", "check": checks.seconds}
_ABOVE_0: dict[str, Any] = {"metavar": "S", "check": checks.seconds_above_0}
_URL: dict[str, Any] = {"metavar": "URL"}
_FILE: dict[str, Any] = {"metavar": "FILE"}
_MODE: dict[str, Any] = {"metavar": "M", "callback": checks.mode, "autocompletion": _complete_mode}

_work = functools.partial(_option, "The slow work")
MODE = _work("--mode", "-m", help=f"How the slow work is run: {_MODES}.", **_MODE)
PRIVATE_MODE = _work(
    "--mode", "-m", help=f"Start a private server in this mode, fire at it, and end it: {_MODES}.", **_MODE
)
MODE_LIST = _work(
    "--modes",
    metavar="A,B,...",
    autocompletion=_complete_modes,
    show_default=f"all up to {DEFAULT_MODES[-1]} that are installed",
    help=f"Modes to run: queues (the queue engines), all, or some of {_MODES}.",
)
DURATION = _work(
    "--duration", "-d", help="How long the slow work takes, asleep or computing: 2, 500ms, 1m.", **_SECONDS
)
WORK = _work(
    "--work",
    "-w",
    metavar="W",
    callback=checks.work,
    autocompletion=_complete_work,
    help="The slow work: sleep, cpu, or your own module:function.",
)

NEED = _work(
    "--need",
    metavar="NAME",
    autocompletion=_complete_need,
    help=f"Recommend a mode for whoever needs this: {', '.join(NEEDS)}; repeatable.",
    **_one_per_line("NEED"),
)

_server = functools.partial(_option, "The server")
HOST = _server("--host", metavar="ADDRESS", help="Address to listen on.")
PORT = _server("--port", "-p", metavar="N", check=checks.port, help="Port to listen on; 0 takes a free one.")
WORKERS = _server("--workers", help="Server processes that share the port.", **_PROCESS_COUNT)
THREADS = _server("--threads", help="Worker threads of each server process (AnyIO's limit).", **_COUNT)
MAX_PENDING = _server(
    "--max-pending", help="Unended tasks that each server process takes; more requests get 503.", **_COUNT
)
JOURNAL = _server("--journal", help="Keep the record of every task here.", show_default="a temporary file", **_FILE)
TOKEN = _server(
    "--token",
    metavar="T",
    callback=checks.token,
    help="Secret that a server asks of whoever follows its tasks, where it listens beyond loopback.",
)
REPORT_TO = _server(
    "--server",
    show_default="none: it asks the result backend",
    help="The server to report to what becomes of its tasks.",
    **_URL,
)

_engine = functools.partial(_option, "The queue engine")
ENGINE = _engine("--engine", metavar="NAME", callback=checks.engine, help=f"The queue engine: {', '.join(ENGINES)}.")
BROKER = _engine("--broker", help="Broker of the queue engine, e.g. redis://, amqp:// or postgresql://.", **_URL)
BACKEND = _engine("--backend", help="Result backend of the queue engine.", show_default="follows --broker", **_URL)
QUEUE = _engine(
    "--queue",
    metavar="NAME",
    callback=checks.queue,
    help="Queue of the server's tasks: one of its own where servers that share a broker share no workers.",
)
PROCESSES = _server(
    "--processes",
    show_default=f"one per CPU, at most {MOST_PROCESSES}",
    help="Tasks that mode process, or a queue engine's worker, runs at once.",
    **_PROCESS_COUNT,
)

_send = functools.partial(_option, "What to send")
COUNT = _send("--count", "-n", help="Requests to send.", **_COUNT)
ROUNDS = _send("--rounds", help="Repeat every mode so often, in changing order.", **_COUNT)
COLD = _send(
    "--cold",
    help="Leave out the warm-up: requests for work that does nothing, before each measurement and not counted.",
)
FOR = _send("--for", envvar="TASKDEMO_FIRE_FOR", help="Send for so long, not --count: 10, 90s, 2m.", **_ABOVE_0)
CONCURRENCY = _send(
    "--concurrency", "-c", show_default="all at once; 50 with --for", help="Requests in flight at the most.", **_COUNT
)
RATE = _send(
    "--rate",
    metavar="R",
    check=checks.rate,
    help="Send R requests per second on schedule, however slow the answers are (open loop).",
)
MESSAGE = _send("--message", metavar="TEXT", help="The task's argument; {n} in it is the request's number.")
METHOD = _send("--method", "-X", metavar="NAME", show_default="GET; POST with --body", help="HTTP method.")
HEADER = _send(
    "--header",
    "-H",
    metavar="'NAME: VALUE'",
    help="Header of each request; repeatable. No report shows its value.",
    **_one_per_line("HEADER"),
)
BODY = _send(
    "--body",
    metavar="TEXT|@FILE",
    help="Body of each request; {n} in a text is the request's number. The Content-Type is JSON's if it is JSON.",
)
FORM = _send(
    "--form",
    metavar="NAME=VALUE|@FILE",
    help="A field of a form, as the body; repeatable. A file makes it an upload.",
    **_one_per_line("FORM"),
)
TIMEOUT = _send(
    "--timeout",
    show_default="never",
    help="End a run so long after its first send; what is unanswered then has failed.",
    **_ABOVE_0,
)
REQUEST_TIMEOUT = _send(
    "--request-timeout",
    show_default="never",
    help="Give a request up so long after its sending: it has failed then.",
    **_ABOVE_0,
)
NO_WAIT = _send("--no-wait", help="Do not wait for the accepted tasks to end.")

_rate = functools.partial(_option, "The rates")
WHILE = _rate(
    "--while",
    metavar="EXPR",
    help="What must stay true for a rate to count as sustained, e.g. 'response.p95 < 200ms'; repeatable.",
    **_one_per_line("WHILE"),
)
FROM = _rate(
    "--from",
    metavar="R",
    check=checks.rate,
    envvar="TASKDEMO_CAPACITY_FROM",
    show_default="below what arithmetic says",
    help="Requests per second of the first step.",
)
TO = _rate("--to", metavar="R", check=checks.rate, show_default="until it gives in", help="Try no higher rate.")
STEP = _rate(
    "--step",
    help="How long each rate is measured, after it has settled; at least twice as long as the work.",
    **_ABOVE_0,
)

SCAN_COUNT = _send("--count", "-n", help="Requests to send to each endpoint at once.", **_COUNT)
SCAN_TIMEOUT = _send(
    "--timeout", help="End a burst so long after its first send; what is unanswered has failed.", **_ABOVE_0
)

_target = functools.partial(_option, "Where to")
TARGET_PORT = _target(
    "--port", "-p", metavar="N", check=checks.used_port, help="Fire at the server on this port.", show_default="8000"
)
TARGET_URL = _target("--url", help="Fire at any HTTP server; :8000/x is on this machine.", **_URL)
APP = _target(
    "--app",
    metavar="APP",
    callback=checks.app,
    help="Start your own ASGI application and fire at it: main.py, package.module:app, a factory, or . for what"
    " fastapi dev would start here.",
)
PATH = _target(
    "--path",
    metavar="PATH",
    show_default="/",
    help="Path to ask for, {n} in it for the request's number; with a query or none; in a --url after the URL's own.",
)

_result = functools.partial(_option, "What becomes of the result")
JSON = _result("--json", help="Print one JSON document to stdout; progress goes to stderr.")
SAVE = _result("--save", help="Save the result; repeatable.", **_FILE, **_one_per_line("SAVE"))
HTML = _result("--html", help="Save the result as one self-contained page.", **_FILE)


def _fail_if(example: str) -> Any:
    what = f"Exit 99 if this is met, e.g. '{example}'; repeatable."
    return _result("--fail-if", metavar="EXPR", help=what, **_one_per_line("FAIL_IF"))


FAIL_IF, FAIL_IF_CAPACITY = _fail_if("response.p95 > 200ms"), _fail_if("sustained < 300")
FAIL_IF_BLOCKING = _result("--fail-if-blocking", help="Exit 99 if an endpoint holds up everybody.")
SAVED_RESULT = typer.Argument(metavar="FILE.json", help="A result that --save FILE.json wrote.")
# Hidden, because the usage and an example show them; the help would call them a <list[str]>.
SAVED_RESULTS = typer.Argument(metavar="OLD.json NEW.json", hidden=True)
