"""The command line's options: their names and help, shared by the commands that take them."""

import os
from collections.abc import Callable
from typing import Annotated, Any

import typer

from taskdemo_cli.commands.checks import (
    a_mode,
    a_number,
    a_port,
    a_token,
    a_used_port,
    a_work,
    an_app,
    an_engine,
    an_own_work,
    from_1,
    per_second,
    seconds,
)
from taskdemo_server.contract.modes import DEFAULT_MODES, ENGINES, GROUPS, MODE_BY_NAME, MODES
from taskdemo_server.contract.settings import BUILT_IN_WORKS


def complete_mode(incomplete: str) -> list[tuple[str, str]]:
    """Complete a mode's name in the shell."""
    return [(mode.name, mode.expect) for mode in MODES if mode.name.startswith(incomplete)]


def complete_modes(incomplete: str) -> list[str]:
    """Complete the last name of a comma-separated list of modes in the shell."""
    done, comma, last = incomplete.rpartition(",")
    return [f"{done}{comma}{name}" for name in (*MODE_BY_NAME, *GROUPS) if name.startswith(last)]


def complete_work(incomplete: str) -> list[str]:
    """Complete the built-in works in the shell."""
    return [work for work in BUILT_IN_WORKS if work.startswith(incomplete)]


def _one_a_line(variable: str) -> Callable[..., Any]:
    """Take an option that was not given from its environment variable, which holds one value a line.

    Typer would cut it at every space.
    """

    def look(ctx: typer.Context, given: list[str] | None) -> list[str]:
        if not given and ctx.auto_envvar_prefix is not None:
            text = os.environ.get(f"{ctx.auto_envvar_prefix}_{variable}", "")
            return [line for line in text.splitlines() if line.strip()]
        return list(given or ())

    return look


def _option(*names: str, **details: Any) -> Any:
    # Every option has its environment variable; naming each would double the length of the help.
    return typer.Option(*names, show_envvar=False, **details)


SEND, AT, OWN, KEEP = "What to send", "Where to", "The server that --mode starts", "What becomes of the result"
RUN, WORK, LISTEN, ENGINE = "What to run", "The slow work", "The server", "The queue engine"
QUEUE, WORKER = "Where its tasks come from", "The worker"

_MODES = ", ".join(MODE_BY_NAME)
_DURATION = "How long the slow work takes, asleep or computing: 2, 500ms, 1m."
_WORK = "The slow work: sleep, cpu, or your own module:function."
_THREADS = "Worker threads of each server process (AnyIO's limit)."
_WORKERS = "Server processes that share the port."


def _duration(panel: str, words: str = _DURATION, **details: Any) -> Any:
    return _option(
        "--duration", "-d", metavar="S", parser=seconds("--duration"), rich_help_panel=panel, help=words, **details
    )


def _work(panel: str, **details: Any) -> Any:
    return _option(
        "--work",
        "-w",
        metavar="W",
        callback=a_work,
        autocompletion=complete_work,
        rich_help_panel=panel,
        help=_WORK,
        **details,
    )


def _threads(panel: str, **details: Any) -> Any:
    return _option(
        "--threads", metavar="N", parser=from_1("--threads"), rich_help_panel=panel, help=_THREADS, **details
    )


def _workers(panel: str, **details: Any) -> Any:
    return _option(
        "--workers", metavar="N", parser=from_1("--workers", 1000), rich_help_panel=panel, help=_WORKERS, **details
    )


def _broker(panel: str) -> Any:
    words = "Broker of the queue engine, e.g. redis://, amqp:// or postgresql://."
    return _option("--broker", metavar="URL", rich_help_panel=panel, show_default="a private one", help=words)


def _backend(panel: str, words: str = "Result backend of the queue engine.") -> Any:
    return _option("--backend", metavar="URL", rich_help_panel=panel, show_default="follows --broker", help=words)


def _token(panel: str, words: str) -> Any:
    return _option("--token", metavar="T", callback=a_token, rich_help_panel=panel, help=words)


def _count(panel: str, words: str, **details: Any) -> Any:
    return _option("--count", "-n", metavar="N", parser=from_1("--count"), rich_help_panel=panel, help=words, **details)


ModeName = Annotated[
    str,
    _option(
        "--mode",
        "-m",
        metavar="M",
        callback=a_mode,
        autocompletion=complete_mode,
        rich_help_panel=WORK,
        help=f"How the slow work is run: {_MODES}.",
    ),
]
OptionalMode = Annotated[
    str | None,
    _option(
        "--mode",
        "-m",
        metavar="M",
        callback=a_mode,
        autocompletion=complete_mode,
        rich_help_panel=AT,
        help=f"Start a private server in this mode, fire at it, and end it: {_MODES}.",
    ),
]
Modes = Annotated[
    str | None,
    _option(
        "--modes",
        metavar="A,B,...",
        autocompletion=complete_modes,
        rich_help_panel=RUN,
        show_default=f"all up to {DEFAULT_MODES[-1]} that are installed",
        help=f"Modes to run: queues (the queue engines), all, or some of {_MODES}.",
    ),
]
Duration = Annotated[float, _duration(WORK)]
ComparedDuration = Annotated[float, _duration(RUN)]
PrivateDuration = Annotated[float | None, _duration(OWN, show_default="1")]
Work = Annotated[str, _work(WORK)]
ComparedWork = Annotated[str, _work(RUN)]
PrivateWork = Annotated[str | None, _work(OWN, show_default="sleep")]
WorkersWork = Annotated[str, _work(WORKER)]
LimitsWork = Annotated[
    str | None,
    _option(
        "--work",
        "-w",
        metavar="module:function",
        callback=an_own_work,
        rich_help_panel=RUN,
        help="Your own function, for the experiment about the work itself: offload.",
    ),
]
Host = Annotated[str, _option("--host", metavar="ADDRESS", rich_help_panel=LISTEN, help="Address to listen on.")]
Port = Annotated[
    int,
    _option(
        "--port",
        "-p",
        metavar="N",
        parser=a_port,
        rich_help_panel=LISTEN,
        help="Port to listen on; 0 takes a free one.",
    ),
]
TargetPort = Annotated[
    int | None,
    _option(
        "--port",
        "-p",
        metavar="N",
        parser=a_used_port,
        rich_help_panel=AT,
        help="Fire at the server on this port.",
        show_default="8000",
    ),
]
ServerPort = Annotated[
    int, _option("--port", "-p", metavar="N", parser=a_used_port, help="Port of the server on this machine.")
]
Workers = Annotated[int, _workers(LISTEN)]
PrivateWorkers = Annotated[int | None, _workers(OWN, show_default="1")]
Threads = Annotated[int, _threads(LISTEN)]
ComparedThreads = Annotated[int, _threads(RUN)]
PrivateThreads = Annotated[int | None, _threads(OWN, show_default="40")]
MaxPending = Annotated[
    int,
    _option(
        "--max-pending",
        metavar="N",
        parser=from_1("--max-pending"),
        rich_help_panel=LISTEN,
        help="Unended tasks that each server process takes; more requests get 503.",
    ),
]
Broker = Annotated[str | None, _broker(ENGINE)]
PrivateBroker = Annotated[str | None, _broker(OWN)]
Backend = Annotated[str | None, _backend(ENGINE)]
PrivateBackend = Annotated[str | None, _backend(OWN)]
Journal = Annotated[
    str | None,
    _option(
        "--journal",
        metavar="FILE",
        rich_help_panel=LISTEN,
        help="Keep the record of every task here.",
        show_default="a temporary file",
    ),
]
Token = Annotated[str | None, _token(LISTEN, "Secret that callers must send, for servers beyond loopback.")]
SentToken = Annotated[str | None, _token(AT, "The secret of a server that was started with --token.")]
Count = Annotated[int | None, _count(SEND, "Requests to send.", show_default="1")]
BurstCount = Annotated[int, _count(RUN, "Requests to send at once, in each mode.")]
ForSeconds = Annotated[
    float | None,
    _option(
        "--for",
        metavar="S",
        envvar="TASKDEMO_FIRE_FOR",
        parser=seconds("--for", above=True),
        rich_help_panel=SEND,
        help="Send for so long, not --count: 10, 90s, 2m.",
    ),
]
Concurrency = Annotated[
    int | None,
    _option(
        "--concurrency",
        "-c",
        metavar="N",
        parser=from_1("--concurrency"),
        rich_help_panel=SEND,
        help="Requests in flight at the most.",
        show_default="all at once; 50 with --for",
    ),
]
Rate = Annotated[
    float | None,
    _option(
        "--rate",
        metavar="R",
        parser=a_number("--rate", per_second, "requests per second, above 0", 0, 1e6, above=True),
        rich_help_panel=SEND,
        help="Send R requests per second on schedule, however slow the answers are (open loop).",
    ),
]
Message = Annotated[
    str | None,
    _option(
        "--message",
        metavar="TEXT",
        rich_help_panel=SEND,
        help="The task's argument; {n} in it is the request's number.",
    ),
]
Timeout = Annotated[
    float | None,
    _option(
        "--timeout",
        metavar="S",
        parser=seconds("--timeout", above=True),
        rich_help_panel=SEND,
        help="End everything so long after the first send; what is unanswered then has failed.",
        show_default="never",
    ),
]
NoWait = Annotated[bool, _option("--no-wait", rich_help_panel=SEND, help="Do not wait for the accepted tasks to end.")]
Url = Annotated[str | None, _option("--url", metavar="URL", rich_help_panel=AT, help="Fire at any HTTP server.")]
App = Annotated[
    str | None,
    _option(
        "--app",
        metavar="package.module:app",
        callback=an_app,
        rich_help_panel=AT,
        help="Start your own ASGI application and fire at it.",
    ),
]
Path = Annotated[
    str | None,
    _option(
        "--path",
        metavar="PATH",
        rich_help_panel=AT,
        show_default="/",
        help="Path to ask for, with a query or none; in a --url it comes after the URL's own.",
    ),
]
Method = Annotated[
    str | None,
    _option(
        "--method",
        "-X",
        metavar="NAME",
        rich_help_panel=SEND,
        show_default="GET; POST with --body",
        help="HTTP method.",
    ),
]
Headers = Annotated[
    list[str] | None,
    _option(
        "--header",
        "-H",
        metavar="'NAME: VALUE'",
        callback=_one_a_line("HEADER"),
        allow_from_autoenv=False,
        rich_help_panel=SEND,
        help="Header of each request; repeatable. No report shows its value.",
    ),
]
Body = Annotated[
    str | None,
    _option(
        "--body",
        metavar="TEXT|@FILE",
        rich_help_panel=SEND,
        help="Body of each request, sent as it is; its Content-Type is JSON's if it is JSON, unless --header says.",
    ),
]
Json = Annotated[
    bool, _option("--json", rich_help_panel=KEEP, help="Print one JSON document to stdout; progress goes to stderr.")
]
Save = Annotated[
    list[str] | None, _option("--save", metavar="FILE", rich_help_panel=KEEP, help="Save the result; repeatable.")
]
Html = Annotated[
    str | None,
    _option("--html", metavar="FILE", rich_help_panel=KEEP, help="Save the result as one self-contained page."),
]
FailIf = Annotated[
    list[str] | None,
    _option(
        "--fail-if",
        metavar="EXPR",
        callback=_one_a_line("FAIL_IF"),
        allow_from_autoenv=False,
        rich_help_panel=KEEP,
        help="Exit 99 if this holds, e.g. 'response.p95 > 200ms'; repeatable.",
    ),
]
WorkerBroker = Annotated[
    str,
    _option(
        "--broker",
        metavar="URL",
        rich_help_panel=QUEUE,
        help="The broker that servers send their tasks to, e.g. redis:// or amqp://.",
    ),
]
WorkerBackend = Annotated[str | None, _backend(QUEUE, "Result backend that the servers use.")]
WorkerDuration = Annotated[float, _duration(WORKER, "How long sleep and cpu take, as the server has it.")]
Processes = Annotated[
    int | None,
    _option(
        "--processes",
        metavar="N",
        parser=from_1("--processes", 1000),
        rich_help_panel=WORKER,
        show_default="one per CPU",
        help="Tasks that it runs at once.",
    ),
]
EngineName = Annotated[
    str,
    _option(
        "--engine",
        metavar="NAME",
        callback=an_engine,
        rich_help_panel=QUEUE,
        help=f"The queue engine: {', '.join(ENGINES)}.",
    ),
]
ReportServer = Annotated[
    str | None,
    _option(
        "--server",
        metavar="URL",
        rich_help_panel=QUEUE,
        show_default="none: it asks the result backend",
        help="The server to report to what becomes of its tasks.",
    ),
]
ReportToken = Annotated[str | None, _token(QUEUE, "The secret of that server.")]
MeasuredLimits = Annotated[
    str | None,
    _option(
        "--limits",
        metavar="FILE.json",
        rich_help_panel=KEEP,
        help="Join the result of taskdemo limits --save FILE.json to this one, and recommend by it.",
    ),
]
SavedResults = Annotated[
    # Hidden, because the usage and an example show them; the help would call them a <list[str]>.
    list[str] | None, typer.Argument(metavar="OLD.json NEW.json", hidden=True)
]
SavedResult = Annotated[str, typer.Argument(metavar="FILE.json", help="A result that --save FILE.json wrote.")]
Rounds = Annotated[
    int,
    _option(
        "--rounds",
        metavar="N",
        parser=from_1("--rounds"),
        rich_help_panel=RUN,
        help="Repeat every mode so often, in changing order.",
    ),
]
