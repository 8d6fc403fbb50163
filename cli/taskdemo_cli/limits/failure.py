"""Limit `failure`: whether a task that raises stays a matter of its own, and shows.

Three things are looked at: whether its error reaches somebody who asks (the caller's status, or the engine, which can
be asked later), whether the next task of the same request runs, and whether a neighbour's request in flight on the same
connection is answered. `yes`: all three. `no`: none, only a line on standard error if at all. `partly`: some.
"""

import re
from dataclasses import dataclass
from typing import IO

from taskdemo_cli.documents.limits import Cell
from taskdemo_cli.limits.trial import SETTLE_S, Trial, open_socket
from taskdemo_cli.processes import servers

_QUIET_S = 1.0
_TEXT = "fails on purpose"


@dataclass(frozen=True, slots=True)
class _Observation:
    caller_status: int | None
    neighbour_status: int | None
    """None where the neighbour was cut off."""
    next_ran: bool
    in_stderr: bool
    in_engine: str | None
    """The error as the engine tells it."""


def failure(trial: Trial) -> Cell:
    """Send two requests over one connection: the task of the first raises while the second is served."""
    server = trial.once(Trial.serve)
    caller, neighbour = _two_on_one_connection(server, "/limits/fail?key=fail", "/limits/neighbour")
    trial.wait_for_begin(server, "fail")
    trial.wait_for_quiet(server, lambda: bool(trial.notes(server, "fail", "following", "ended")), _QUIET_S)

    def ask() -> str | None:
        answer = trial.ask(server, "/limits/ask?key=fail")
        return answer.body["error"] if answer.status == 200 else None

    told = ask()
    if told is None:  # the engine may be about to note it
        trial.pause(SETTLE_S)
        told = ask()
    return _cell(
        _Observation(
            caller_status=caller,
            neighbour_status=neighbour,
            next_ran=bool(trial.notes(server, "fail", "following", "started")),
            in_stderr=_TEXT in trial.said(server),
            in_engine=told if told and _TEXT in told else None,
        )
    )


def _two_on_one_connection(server: servers.Server, first: str, second: str) -> tuple[int | None, int | None]:
    """Send two requests in one go and return the status of each answer; None where none came."""
    with open_socket(server) as connection, connection.makefile("rb") as answers:
        connection.sendall(
            b"".join(b"GET %b HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" % path.encode() for path in (first, second))
        )
        return _status(answers), _status(answers)


def _status(answers: IO[bytes]) -> int | None:
    """Read one answer, with its body, and return its status; None where the connection ends before."""
    try:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            line = answers.readline()
            if not line:
                return None
            head += line
        length = re.search(rb"(?im)^content-length: *(\d+)", head)
        answers.read(int(length[1]) if length else 0)
        return int(head.split(maxsplit=2)[1])
    except (OSError, ValueError, IndexError):
        return None


def _cell(observed: _Observation) -> Cell:
    told = observed.in_engine is not None or (observed.caller_status or 0) >= 500
    unharmed = observed.neighbour_status == 200
    met = [told, observed.next_ran, unharmed]
    places = {
        "to its caller": (observed.caller_status or 0) >= 500,
        "to whoever asks the engine": observed.in_engine is not None,
        "on the server's standard error": observed.in_stderr,
    }
    shows = [place for place, so in places.items() if so]
    status = f"HTTP {observed.caller_status}" if observed.caller_status else "no answer"
    return Cell(
        verdict="yes" if all(met) else "partly" if any(met) else "no",
        measured={
            "figure": f"{sum(met)} of 3",
            "caller_status": observed.caller_status,
            "error_told": told,
            "in_stderr": observed.in_stderr,
            "in_engine": observed.in_engine,
            "next_task_ran": observed.next_ran,
            "neighbour_status": observed.neighbour_status,
        },
        text=f"Its caller saw {status}; the next task of the same request "
        f"{'ran' if observed.next_ran else 'never ran'}; a neighbour's request on the same connection was "
        f"{'answered' if unharmed else 'cut off'}; the error shows {' and '.join(shows) or 'nowhere'}.",
    )
