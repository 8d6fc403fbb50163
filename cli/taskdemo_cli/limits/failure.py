"""Limit `failure`: whether a task that raises affects nothing else, and its error is visible.

Three checks: whether the error can be found by asking (in the caller's status, or later from the engine), whether the
next task of the same request runs, and whether a neighbour's request in flight on the same connection is answered.
`yes`: all three. `partly`: some. `no`: none; at most a line on standard error.
"""

import http.client
import socket
from typing import IO

from taskdemo_cli.documents.limits import Cell
from taskdemo_cli.limits.evidence import counted
from taskdemo_cli.limits.trial import ANSWER_TIMEOUT_S, Trial
from taskdemo_cli.units import format_list

_QUIET_S = 1.0
_NOTED_S = 5.0
"""Seconds that an engine may take to record an error on a slow machine."""
_TEXT = "fails on purpose"


def failure(trial: Trial) -> Cell:
    """Send two requests over one connection: the first one's task raises while the second is in flight."""
    caller, neighbour = _two_on_one_connection(trial.server.port, "/limits/fail?key=fail", "/limits/neighbour")
    trial.follow("fail", lambda: bool(trial.notes("fail", "following", "ended")), _QUIET_S)

    told: list[str] = []

    def is_told() -> bool:
        answer = trial.ask("/limits/ask?key=fail")
        told.extend(filter(None, [answer.body.get("error") if answer.status == 200 else None]))
        return answer.status != 200 or bool(told)

    trial.wait(is_told, _NOTED_S)
    in_engine = next((text for text in told if _TEXT in text), None)
    in_stderr = _TEXT in trial.said()
    next_ran = bool(trial.notes("fail", "following", "started"))
    is_answered = neighbour == 200
    places = {
        "to its caller": (caller or 0) >= 500,
        "to anyone who asks the engine": in_engine is not None,
        "on the server's standard error": in_stderr,
    }
    shows = [place for place, so in places.items() if so]
    is_seen = places["to its caller"] or in_engine is not None
    return counted(
        sum([is_seen, next_ran, is_answered]),
        3,
        f"Its caller saw {f'HTTP {caller}' if caller else 'no answer'}; the next task of the same request "
        f"{'ran' if next_ran else 'never ran'}; a neighbour's request on the same connection was "
        f"{'answered' if is_answered else 'cut off'}; the error shows {format_list(shows) if shows else 'nowhere'}.",
        caller_status=caller,
        error_told=is_seen,
        in_stderr=in_stderr,
        in_engine=in_engine,
        next_task_ran=next_ran,
        neighbour_status=neighbour,
    )


def _two_on_one_connection(port: int, first: str, second: str) -> tuple[int | None, int | None]:
    """Send two requests in one write and return the status of each answer; None if none came."""
    requests = "".join(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" for path in (first, second))
    with socket.create_connection(("127.0.0.1", port), ANSWER_TIMEOUT_S) as pipe, pipe.makefile("rb") as answers:
        pipe.sendall(requests.encode())
        return _status(answers), _status(answers)


def _status(answers: IO[bytes]) -> int | None:
    """Read one answer with its body and return its status; None if the connection ends first."""
    try:
        status = int(answers.readline().split(maxsplit=2)[1])
        answers.read(int(http.client.parse_headers(answers).get("Content-Length", 0)))
    except (OSError, ValueError, IndexError):
        return None
    return status
