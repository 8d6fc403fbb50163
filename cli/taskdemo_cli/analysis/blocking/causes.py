"""What each cause means: who has to wait because of it, the sentence that says so, and what to do about it."""

from collections.abc import Mapping
from typing import Final, Literal, NamedTuple

from taskdemo_cli.documents.blocking import Cause


class Meaning(NamedTuple):
    """What follows from a cause."""

    text: str
    """The sentence, before how long a bystander waited; `at` is the place, in parentheses."""
    holds_up: Literal["everybody", "threads"] | None = None
    """Who has to wait: everybody, or who needs a worker thread; None if nobody, or if that is not known."""
    change: str | None = None
    """What to do about it, whatever the call."""


CAUSES: Final[Mapping[Cause, Meaning]] = {
    "event loop held": Meaning(
        "This endpoint blocks the server: it blocks the event loop{at}, so everybody waits{longest}.", "everybody"
    ),
    "interpreter busy": Meaning(
        "This endpoint slows the whole server: it computes in threads{at}, which take the interpreter from the event"
        " loop{longest}.",
        "everybody",
    ),
    "processors busy": Meaning(
        "This endpoint slows the whole server: it computes in threads{at}, and takes the processors from everybody.",
        "everybody",
        "Let fewer in at once (anyio.CapacityLimiter), or compute on another machine (a task queue)",
    ),
    "garbage collection": Meaning(
        "This endpoint blocks the server: it creates so many objects that Python's garbage collection stops"
        " everything{at}{longest}.",
        "everybody",
        "Make fewer objects at once, or collect less often: gc.set_threshold(50_000, 20) and gc.freeze() after the"
        " start",
    ),
    "threads used up": Meaning(
        "This endpoint uses up the worker threads: all were taken while others waited for one.",
        "threads",
        "Wait without a thread: an `async def` with an async client; or hold the threads for less long",
    ),
    "waiting in line": Meaning(
        "The callers of this endpoint wait in line for one another{at}, which holds up nobody else.",
        change="Hold it for less long, or let more in at once (a larger pool, a lock for each thing)",
    ),
    "application": Meaning(
        "The application itself blocks the server, not a request of this endpoint: a task, a callback or a thread was"
        " at work{at}{longest}."
    ),
    "not reached": Meaning("Blocking was not measured: {why}."),
    "not found": Meaning(
        "Whether this endpoint blocks the server is not clear: {waits}, but the cause was not seen. Run it again."
    ),
    "neither": Meaning("This endpoint does not block the server: {waits}."),
}
COMPUTE_ELSEWHERE: Final = (
    "Compute in processes, and wait for them without a thread: "
    "`await loop.run_in_executor(process_pool, function, ...)` in an `async def`; or use a task queue"
)
"""What to do where the threads that are used up compute."""
UNPROVEN: Final[frozenset[Cause]] = frozenset({"not found", "neither"})
"""With these, nothing was seen that held anybody up: what was seen are calls that did not end."""
