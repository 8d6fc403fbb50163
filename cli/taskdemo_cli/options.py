"""The command line's options: their names, help and checks, shared by the commands that take them."""

import difflib
import math
import os
import pathlib
from collections.abc import Callable
from typing import Annotated, Any

import typer

from taskdemo_cli.errors import UserError
from taskdemo_server import named
from taskdemo_server.events import MODE_BY_NAME, MODES
from taskdemo_server.settings import BUILT_IN_WORKS


def complete_mode(incomplete: str) -> list[tuple[str, str]]:
    """Complete a mode's name in the shell."""
    return [(mode.name, mode.expect) for mode in MODES if mode.name.startswith(incomplete)]


def complete_modes(incomplete: str) -> list[str]:
    """Complete the last name of a comma-separated list of modes in the shell."""
    done, comma, last = incomplete.rpartition(",")
    return [f"{done}{comma}{mode.name}" for mode in MODES if mode.name.startswith(last)]


def complete_work(incomplete: str) -> list[str]:
    """Complete the built-in works in the shell."""
    return [work for work in BUILT_IN_WORKS if work.startswith(incomplete)]


def a_mode(name: str | None) -> str | None:
    """Check a mode's name. Raises UserError with the names there are, the nearest first."""
    if name is None or name in MODE_BY_NAME:
        return name
    near = difflib.get_close_matches(name, MODE_BY_NAME, n=1)
    guess = f"did you mean {near[0]}? " if near else ""
    raise UserError(f"there is no mode {name!r}; {guess}The modes are {', '.join(MODE_BY_NAME)}")


def a_work(text: str | None) -> str | None:
    """Check a work's name, not yet whether there is such a function. Raises UserError with what to type instead."""
    if text is None or text in BUILT_IN_WORKS:
        return text
    if ":" in text or "." in text:
        try:
            named.parse("--work", text)
        except named.UnusableError as error:
            raise UserError(str(error)) from None
        return text
    near = difflib.get_close_matches(text, BUILT_IN_WORKS, n=1)
    guess = f"did you mean {near[0]}? " if near else ""
    raise UserError(
        f"there is no work {text!r}; {guess}The works are {', '.join(BUILT_IN_WORKS)}, or your own as module:function"
    )


def an_own_work(text: str | None) -> str | None:
    """Check the name of a function of the user's own. Raises UserError with what to type instead."""
    if text in BUILT_IN_WORKS:
        raise UserError(f"--work is {text}: each experiment has its own; leave --work out, or name module:function")
    return a_work(text)


def an_app(text: str | None) -> str | None:
    """Check the name of an ASGI application. Raises UserError with what to type instead."""
    try:
        if text is not None:
            named.parse("--app", text)
    except named.UnusableError as error:
        raise UserError(str(error)) from None
    return text


def a_token(text: str | None) -> str | None:
    """Check that a secret can be sent in a header. Raises UserError (which does not repeat it)."""
    if text is not None and not (text and text.isascii() and text.isprintable() and text == text.strip()):
        raise UserError("--token goes into a header: it takes visible ASCII characters, at least one")
    return text


def folder_of(name: str) -> str | None:
    """Return where to look for what the user has named: the current folder; None for a work that comes along."""
    try:
        return None if name in BUILT_IN_WORKS else str(pathlib.Path.cwd())
    except FileNotFoundError:
        raise UserError("the current folder is gone, and what you named is looked for there; cd to another") from None


def only_one(choices: dict[str, object]) -> None:
    """Raise UserError where more than one of these options was given."""
    given = [name for name, value in choices.items() if value is not None]
    if len(given) > 1:
        raise UserError(f"{given[0]} and {given[1]} each say where to fire: give one of them")


def mode_list(text: str | None) -> list[str] | None:
    """Read `A,B,...`; None where nothing was asked for. Raises UserError for a name that is not a mode's."""
    if text is None:
        return None
    names = list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if not names:
        raise UserError(f"--modes names no mode; the modes are {','.join(MODE_BY_NAME)}")
    for name in names:
        a_mode(name)
    return names


def _at_least(option: str, least: float, words: str, *, above: bool = False) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:
        if value is not None and (not math.isfinite(value) or value < least or (above and value == least)):
            raise UserError(f"{option} is {value}: it takes {words}")
        return value

    return check


def _from_1(option: str) -> Callable[[Any], Any]:
    return _at_least(option, 1, "a whole number from 1")


def _positive(option: str, words: str) -> Callable[[Any], Any]:
    return _at_least(option, 0, words, above=True)


def _port(value: int | None) -> int | None:
    if value is not None and not 0 <= value <= 65535:
        raise UserError(f"--port is {value}: it takes 0 (any free port) to 65535")
    return value


def _used_port(value: int | None) -> int | None:
    if value is not None and not 1 <= value <= 65535:
        raise UserError(f"--port is {value}: it takes the port of a server, 1 to 65535")
    return value


def _one_a_line(variable: str) -> Callable[..., Any]:
    """Take an option that was not given from its environment variable, which holds one value a line.

    Typer would cut it at every space.
    """

    def look(ctx: typer.Context, value: list[str] | None) -> list[str] | None:
        if not value and ctx.auto_envvar_prefix is not None:
            text = os.environ.get(f"{ctx.auto_envvar_prefix}_{variable}", "")
            return [line for line in text.splitlines() if line.strip()] or value
        return value

    return look


def _option(*names: str, **details: Any) -> Any:
    # Every option has its environment variable; naming each would double the length of the help.
    return typer.Option(*names, show_envvar=False, **details)


SEND, AT, OWN, KEEP = "What to send", "Where to", "The server it starts", "What becomes of the result"


ModeName = Annotated[
    str, _option("--mode", "-m", callback=a_mode, autocompletion=complete_mode, help="How the slow work is run.")
]
OptionalMode = Annotated[
    str | None,
    _option(
        "--mode",
        "-m",
        callback=a_mode,
        autocompletion=complete_mode,
        rich_help_panel=AT,
        help="Start a private server in this mode, fire at it, and end it.",
    ),
]
Modes = Annotated[
    str | None,
    _option("--modes", metavar="A,B,...", autocompletion=complete_modes, help="Modes to run; all by default."),
]
Duration = Annotated[
    float,
    _option(
        "--duration",
        "-d",
        metavar="S",
        callback=_at_least("--duration", 0, "seconds, 0 or more"),
        help="How long the slow work takes: seconds slept, or CPU seconds burnt.",
    ),
]
Work = Annotated[
    str,
    _option(
        "--work",
        "-w",
        metavar="W",
        callback=a_work,
        autocompletion=complete_work,
        help="The slow work: sleep, cpu, or your own module:function.",
    ),
]
LimitsWork = Annotated[
    str | None,
    _option(
        "--work",
        "-w",
        metavar="module:function",
        callback=an_own_work,
        help="Your own function, for the experiment about the work itself: offload.",
    ),
]
Host = Annotated[str, _option("--host", help="Address to listen on.")]
Port = Annotated[int, _option("--port", "-p", callback=_port, help="Port to listen on; 0 takes a free one.")]
TargetPort = Annotated[
    int | None,
    _option(
        "--port",
        "-p",
        callback=_used_port,
        rich_help_panel=AT,
        help="Fire at the server on this port.",
        show_default="8000",
    ),
]
ServerPort = Annotated[int, _option("--port", "-p", callback=_used_port, help="Port of the server on this machine.")]
Workers = Annotated[
    int, _option("--workers", callback=_from_1("--workers"), help="Server processes that share the port.")
]
Threads = Annotated[
    int,
    _option("--threads", callback=_from_1("--threads"), help="Worker threads per server process (AnyIO's limit)."),
]
MaxPending = Annotated[
    int,
    _option(
        "--max-pending",
        metavar="N",
        callback=_from_1("--max-pending"),
        help="Unended tasks that each server process takes; more requests get 503.",
    ),
]
Broker = Annotated[
    str | None,
    _option(
        "--broker", metavar="URL", help="Broker of the celery mode: redis:// or amqp://; a private one by default."
    ),
]
Backend = Annotated[
    str | None,
    _option("--backend", metavar="URL", help="Result backend of the celery mode; follows --broker by default."),
]
Journal = Annotated[
    str | None,
    _option("--journal", metavar="FILE", help="Keep the record of every task here.", show_default="a temporary file"),
]
Detach = Annotated[bool, _option("--detach", help="Return the prompt; taskdemo stop ends the server.")]
Token = Annotated[
    str | None,
    _option(
        "--token", metavar="T", callback=a_token, help="Secret that callers must send, for servers beyond loopback."
    ),
]
PrivateDuration = Annotated[
    float | None,
    _option(
        "--duration",
        "-d",
        metavar="S",
        callback=_at_least("--duration", 0, "seconds, 0 or more"),
        rich_help_panel=OWN,
        help="As of taskdemo serve, with --mode.",
    ),
]
PrivateWork = Annotated[
    str | None,
    _option(
        "--work",
        "-w",
        metavar="W",
        callback=a_work,
        autocompletion=complete_work,
        rich_help_panel=OWN,
        help="As of taskdemo serve, with --mode.",
    ),
]
PrivateThreads = Annotated[
    int | None,
    _option("--threads", callback=_from_1("--threads"), rich_help_panel=OWN, help="As of taskdemo serve, with --mode."),
]
PrivateWorkers = Annotated[
    int | None,
    _option("--workers", callback=_from_1("--workers"), rich_help_panel=OWN, help="As of taskdemo serve, with --mode."),
]
Count = Annotated[
    int | None,
    _option(
        "--count", "-n", callback=_from_1("--count"), rich_help_panel=SEND, help="Requests to send.", show_default="1"
    ),
]
BurstCount = Annotated[
    int, _option("--count", "-n", callback=_from_1("--count"), help="Requests to send at once, in each mode.")
]
ForSeconds = Annotated[
    float | None,
    _option(
        "--for",
        metavar="S",
        envvar="TASKDEMO_FIRE_FOR",
        callback=_positive("--for", "seconds above 0"),
        rich_help_panel=SEND,
        help="Send for so long, not --count.",
    ),
]
Concurrency = Annotated[
    int | None,
    _option(
        "--concurrency",
        "-c",
        callback=_from_1("--concurrency"),
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
        callback=_positive("--rate", "requests per second, above 0"),
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
        callback=_positive("--timeout", "seconds above 0"),
        rich_help_panel=SEND,
        help="End everything S seconds after the first send; what is unanswered then has failed.",
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
    str, _option("--broker", metavar="URL", help="The broker that servers send their tasks to: redis:// or amqp://.")
]
WorkerDuration = Annotated[
    float | None,
    _option(
        "--duration",
        "-d",
        metavar="S",
        callback=_at_least("--duration", 0, "seconds, 0 or more"),
        help="How long the longest work takes: over Redis, a dead worker's tasks are given to others after twice that.",
    ),
]
Processes = Annotated[
    int | None,
    _option("--concurrency", "-c", callback=_from_1("--concurrency"), show_default="one a CPU", help="Pool processes."),
]
WorkerName = Annotated[
    str | None,
    _option("--name", metavar="HOST", show_default="the machine's", help="Host name under which it appears."),
]
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
    list[str] | None, typer.Argument(metavar="[OLD.json NEW.json]", help="Two saved results to compare, instead.")
]
SavedResult = Annotated[str, typer.Argument(metavar="FILE.json", help="A result that --save FILE.json wrote.")]
Rounds = Annotated[
    int, _option("--rounds", callback=_from_1("--rounds"), help="Repeat every mode so often, in changing order.")
]
