"""The limits: the outcome of each experiment in each mode."""

from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal

from msgspec import Struct

from taskdemo_cli.documents.run import Document, Skipped

LIMIT_QUESTIONS: Final = {
    "track": "Track: can the engine tell how a task is doing?",
    "cancel": "Cancel: can a task be stopped, waiting or running?",
    "retry": "Retry: is work that failed run again?",
    "orchestrate": "Orchestrate: chains, and groups with a final step?",
    "offload": "Offload: does the work leave the server's process?",
    "neighbours": "Neighbours: are others answered within 100 ms while five tasks compute?",
    "distribute": "Distribute: can several machines share the tasks?",
    "survive_restart": "Restart: does a task survive a normal restart (SIGTERM, SIGINT)?",
    "survive_server_kill": "Server kill: does a task survive a killed server?",
    "survive_worker_kill": "Worker kill: does a task survive if what runs it is killed?",
    "failure": "Failure: is an error reported, and are others unharmed?",
    "late_error": "Late error: does a task run if its endpoint raises later?",
    "hang_up": "Hang-up: does the work finish if its caller hangs up?",
    "middleware": "Middleware: is everything the same behind BaseHTTPMiddleware?",
    "session": "Session: is a dependency's session open while the task runs?",
    "context": "Context: does the work see the request's context variables?",
}
"""What each limit asks, in the order of every table."""
LIMITS: Final = tuple(LIMIT_QUESTIONS)


def limit_name(limit: str) -> str:
    """Return how people read the name of a limit: `survive_server_kill` is 'server kill'."""
    return limit.removeprefix("survive_").replace("_", " ")


def limit_question(limit: str) -> str:
    """Return what a limit asks, or the name of one that only another version of taskdemo knows."""
    return LIMIT_QUESTIONS.get(limit, limit_name(limit))


class Cell(Struct, frozen=True, kw_only=True):
    """What the experiment about one limit of one mode showed."""

    verdict: Literal["yes", "no", "partly"]
    measured: dict[str, Any] = {}
    """The figures; `figure` among them is the one beside the verdict, a few characters of text."""
    text: str

    @property
    def figure(self) -> str:
        """The figure beside the verdict; empty if the file has no text there."""
        figure = self.measured.get("figure")
        return figure if isinstance(figure, str) else ""


class FailedExperiment(Struct, frozen=True, kw_only=True):
    """An experiment that could not be finished, and why: its cell is missing."""

    mode: str
    limit: str
    why: str


class LimitsDocument(Document, frozen=True, kw_only=True):
    """The outcomes of all experiments of `taskdemo limits`."""

    kind: Literal["limits"] = "limits"
    modes: dict[str, dict[str, Cell]] = {}
    skipped: list[Skipped] = []
    failed: list[FailedExperiment] = []
    interrupted: bool = False
    started_at: str = ""
    """ISO 8601, in UTC."""


def limits_in(modes: Mapping[str, Iterable[str]]) -> list[str]:
    """Return the limits of which these modes have cells: those we know in their own order, then any others."""
    found = dict.fromkeys(name for cells in modes.values() for name in cells)
    return [*(name for name in LIMITS if name in found), *(name for name in found if name not in LIMITS)]
