"""The command line's options: their names, help and checks, shared by the commands that take them."""

import difflib
import math
from collections.abc import Callable
from typing import Annotated, Any

import typer

from taskdemo_cli.errors import UserError
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


ModeName = Annotated[
    str, typer.Option("--mode", "-m", callback=a_mode, autocompletion=complete_mode, help="How the slow work is run.")
]
OptionalMode = Annotated[
    str | None,
    typer.Option(
        "--mode",
        "-m",
        callback=a_mode,
        autocompletion=complete_mode,
        help="Start a private server in this mode, fire at it, and end it.",
    ),
]
Modes = Annotated[
    str | None,
    typer.Option("--modes", metavar="A,B,...", autocompletion=complete_modes, help="Modes to run; all by default."),
]
Duration = Annotated[
    float,
    typer.Option(
        "--duration",
        "-d",
        metavar="S",
        callback=_at_least("--duration", 0, "seconds, 0 or more"),
        help="How long the slow work takes: seconds slept, or CPU seconds burnt.",
    ),
]
Work = Annotated[
    str,
    typer.Option(
        "--work",
        "-w",
        metavar="W",
        autocompletion=complete_work,
        help="The slow work: sleep, cpu, or your own module:function.",
    ),
]
Host = Annotated[str, typer.Option("--host", help="Address to listen on.")]
Port = Annotated[int, typer.Option("--port", "-p", callback=_port, help="Port to listen on; 0 takes a free one.")]
TargetPort = Annotated[
    int | None,
    typer.Option("--port", "-p", callback=_port, help="Fire at the server on this port.  [default: 8000]"),
]
ServerPort = Annotated[int, typer.Option("--port", "-p", callback=_port, help="Port of the server on this machine.")]
Workers = Annotated[
    int, typer.Option("--workers", callback=_from_1("--workers"), help="Server processes that share the port.")
]
Threads = Annotated[
    int,
    typer.Option("--threads", callback=_from_1("--threads"), help="Worker threads per server process (AnyIO's limit)."),
]
Broker = Annotated[
    str | None,
    typer.Option(
        "--broker", metavar="URL", help="Broker of the celery mode: redis:// or amqp://; a private one by default."
    ),
]
Backend = Annotated[
    str | None,
    typer.Option("--backend", metavar="URL", help="Result backend of the celery mode; follows --broker by default."),
]
Journal = Annotated[
    str | None,
    typer.Option("--journal", metavar="FILE", help="Keep the record of every task here.  [default: a temporary file]"),
]
Detach = Annotated[bool, typer.Option("--detach", help="Return the prompt; taskdemo stop ends the server.")]
Token = Annotated[
    str | None, typer.Option("--token", metavar="T", help="Secret that callers must send, for servers beyond loopback.")
]
PrivateDuration = Annotated[
    float | None,
    typer.Option(
        "--duration", "-d", metavar="S", callback=_at_least("--duration", 0, "seconds, 0 or more"), help="With --mode."
    ),
]
PrivateWork = Annotated[
    str | None, typer.Option("--work", "-w", metavar="W", autocompletion=complete_work, help="With --mode.")
]
PrivateThreads = Annotated[int | None, typer.Option("--threads", callback=_from_1("--threads"), help="With --mode.")]
PrivateWorkers = Annotated[int | None, typer.Option("--workers", callback=_from_1("--workers"), help="With --mode.")]
Count = Annotated[
    int | None,
    typer.Option("--count", "-n", callback=_from_1("--count"), help="Requests to send.  [default: 1]"),
]
BurstCount = Annotated[
    int, typer.Option("--count", "-n", callback=_from_1("--count"), help="Requests to send at once, in each mode.")
]
ForSeconds = Annotated[
    float | None,
    typer.Option(
        "--for", metavar="S", callback=_positive("--for", "seconds above 0"), help="Send for so long, not --count."
    ),
]
Concurrency = Annotated[
    int | None,
    typer.Option(
        "--concurrency",
        "-c",
        callback=_from_1("--concurrency"),
        help="Requests in flight at the most.  [default: all at once; 50 with --for]",
    ),
]
Rate = Annotated[
    float | None,
    typer.Option(
        "--rate",
        metavar="R",
        callback=_positive("--rate", "requests per second, above 0"),
        help="Send R requests per second on schedule, however slow the answers are (open loop).",
    ),
]
Message = Annotated[
    str | None,
    typer.Option("--message", metavar="TEXT", help="The task's argument; {n} in it is the request's number."),
]
Timeout = Annotated[
    float | None,
    typer.Option(
        "--timeout",
        metavar="S",
        callback=_positive("--timeout", "seconds above 0"),
        help="End everything S seconds after the first send; what is unanswered then has failed.  [default: never]",
    ),
]
NoWait = Annotated[bool, typer.Option("--no-wait", help="Do not wait for the accepted tasks to end.")]
Url = Annotated[str | None, typer.Option("--url", metavar="URL", help="Fire at any HTTP server.")]
App = Annotated[
    str | None,
    typer.Option("--app", metavar="package.module:app", help="Start your own ASGI application and fire at it."),
]
Path = Annotated[str, typer.Option("--path", metavar="/", help="Path to ask for.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document to stdout; progress goes to stderr.")]
Save = Annotated[list[str] | None, typer.Option("--save", metavar="FILE", help="Save the result; repeatable.")]
Html = Annotated[str | None, typer.Option("--html", metavar="FILE", help="Save the result as one self-contained page.")]
FailIf = Annotated[
    list[str] | None,
    typer.Option("--fail-if", metavar="EXPR", help="Exit 99 if this holds, e.g. 'response.p95 > 200ms'; repeatable."),
]
SavedResults = Annotated[
    list[str] | None, typer.Argument(metavar="[OLD.json NEW.json]", help="Two saved results to compare, instead.")
]
SavedResult = Annotated[str, typer.Argument(metavar="FILE.json", help="A result that --save FILE.json wrote.")]
Rounds = Annotated[
    int, typer.Option("--rounds", callback=_from_1("--rounds"), help="Repeat every mode so often, in changing order.")
]
