"""The command line's options: their names, help and checks, shared by the commands that take them."""

import difflib
import math
import os
import pathlib
from collections.abc import Callable
from typing import Annotated, Any

import typer

from taskdemo_cli.errors import UserError
from taskdemo_cli.units import read_plain, read_seconds, read_whole
from taskdemo_server import named
from taskdemo_server.events import MODE_BY_NAME, MODES
from taskdemo_server.settings import BUILT_IN_WORKS
from taskdemo_server.visible import shortened


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
    guess = f"did you mean {near[0]}? The" if near else "the"
    raise UserError(f"there is no mode {name!r}; {guess} modes are {', '.join(MODE_BY_NAME)}")


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
    guess = f"did you mean {near[0]}? The" if near else "the"
    raise UserError(
        f"there is no work {text!r}; {guess} works are {', '.join(BUILT_IN_WORKS)}, or your own as module:function"
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


def _number(
    option: str,
    read: Callable[[str], float],
    words: str,
    least: float = 0,
    most: float = 1e9,
    *,
    above: bool = False,
) -> Callable[[Any], Any]:
    """Return what makes a number of an option's text; an option that was not given keeps its own default."""

    def parse(given: Any) -> Any:
        try:
            value = read(given) if isinstance(given, str) else given
        except ValueError:
            value = math.nan
        if not least <= value <= most or (above and value == least):
            what = shortened(given, 40) if isinstance(given, str) and given.strip() else repr(given)
            limit = f", at most {most:,.0f}" if value > most and not words.endswith(str(most)) else ""
            raise UserError(f"{option} is {what}: it takes {words}{limit}")
        return value

    return parse


def _from_1(option: str, most: float = 1e9) -> Callable[[Any], Any]:
    return _number(option, read_whole, "a whole number from 1", 1, most)


def _seconds(option: str, *, above: bool = False) -> Callable[[Any], Any]:
    least = " above 0" if above else ", 0 or more"
    return _number(option, read_seconds, f"seconds{least}, such as 2, 500ms or 1m", above=above)


def _rate(text: str) -> float:
    return read_plain(text.strip().removesuffix("/s"))


_port = _number("--port", read_whole, "0 (any free port) to 65535", 0, 65535)
_used_port = _number("--port", read_whole, "the port of a server, 1 to 65535", 1, 65535)


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
RUN, WORK, LISTEN, CELERY = "What to run", "The slow work", "The server", "The celery mode"
QUEUE, WORKER = "Where its tasks come from", "The worker"

_MODES = ", ".join(MODE_BY_NAME)
_DURATION = "How long the slow work takes, asleep or computing: 2, 500ms, 1m."
_WORK = "The slow work: sleep, cpu, or your own module:function."
_THREADS = "Worker threads of each server process (AnyIO's limit)."
_WORKERS = "Server processes that share the port."


def _duration(panel: str, words: str = _DURATION, **details: Any) -> Any:
    return _option(
        "--duration", "-d", metavar="S", parser=_seconds("--duration"), rich_help_panel=panel, help=words, **details
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
        "--threads", metavar="N", parser=_from_1("--threads"), rich_help_panel=panel, help=_THREADS, **details
    )


def _workers(panel: str, **details: Any) -> Any:
    return _option(
        "--workers", metavar="N", parser=_from_1("--workers", 1000), rich_help_panel=panel, help=_WORKERS, **details
    )


def _broker(panel: str) -> Any:
    words = "Broker of the mode celery: redis:// or amqp://."
    return _option("--broker", metavar="URL", rich_help_panel=panel, show_default="a private one", help=words)


def _backend(panel: str, words: str = "Result backend of the mode celery.") -> Any:
    return _option("--backend", metavar="URL", rich_help_panel=panel, show_default="follows --broker", help=words)


def _token(panel: str, words: str) -> Any:
    return _option("--token", metavar="T", callback=a_token, rich_help_panel=panel, help=words)


def _count(panel: str, words: str, **details: Any) -> Any:
    return _option(
        "--count", "-n", metavar="N", parser=_from_1("--count"), rich_help_panel=panel, help=words, **details
    )


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
        show_default="all that are installed",
        help=f"Modes to run, of {_MODES}.",
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
        "--port", "-p", metavar="N", parser=_port, rich_help_panel=LISTEN, help="Port to listen on; 0 takes a free one."
    ),
]
TargetPort = Annotated[
    int | None,
    _option(
        "--port",
        "-p",
        metavar="N",
        parser=_used_port,
        rich_help_panel=AT,
        help="Fire at the server on this port.",
        show_default="8000",
    ),
]
ServerPort = Annotated[
    int, _option("--port", "-p", metavar="N", parser=_used_port, help="Port of the server on this machine.")
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
        parser=_from_1("--max-pending"),
        rich_help_panel=LISTEN,
        help="Unended tasks that each server process takes; more requests get 503.",
    ),
]
Broker = Annotated[str | None, _broker(CELERY)]
PrivateBroker = Annotated[str | None, _broker(OWN)]
Backend = Annotated[str | None, _backend(CELERY)]
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
Detach = Annotated[
    bool, _option("--detach", rich_help_panel=LISTEN, help="Return the prompt; taskdemo stop ends the server.")
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
        parser=_seconds("--for", above=True),
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
        parser=_from_1("--concurrency"),
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
        parser=_number("--rate", _rate, "requests per second, above 0", 0, 1e6, above=True),
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
        parser=_seconds("--timeout", above=True),
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
        help="The broker that servers send their tasks to: redis:// or amqp://.",
    ),
]
WorkerBackend = Annotated[str | None, _backend(QUEUE, "Result backend that the servers use.")]
WorkerDuration = Annotated[
    float | None,
    _duration(
        WORKER,
        "How long the longest work takes (2, 500ms, 1m): over Redis, a dead worker's tasks are given to others after "
        "twice that.",
    ),
]
Processes = Annotated[
    int | None,
    _option(
        "--concurrency",
        "-c",
        metavar="N",
        parser=_from_1("--concurrency", 1000),
        rich_help_panel=WORKER,
        show_default="one a CPU",
        help="Pool processes.",
    ),
]
WorkerName = Annotated[
    str | None,
    _option(
        "--name",
        metavar="HOST",
        rich_help_panel=WORKER,
        show_default="the machine's",
        help="Host name under which it appears.",
    ),
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
    # Hidden, because the usage and an example show them; the help would call them a <list[str]>.
    list[str] | None, typer.Argument(metavar="OLD.json NEW.json", hidden=True)
]
SavedResult = Annotated[str, typer.Argument(metavar="FILE.json", help="A result that --save FILE.json wrote.")]
Rounds = Annotated[
    int,
    _option(
        "--rounds",
        metavar="N",
        parser=_from_1("--rounds"),
        rich_help_panel=RUN,
        help="Repeat every mode so often, in changing order.",
    ),
]
