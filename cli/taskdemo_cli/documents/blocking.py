"""Whether an endpoint of the user's own application holds up others: part of a run and of a scan."""

from typing import Literal, TypeAlias

from msgspec import Struct

from taskdemo_cli.stats import Seconds

Cause: TypeAlias = Literal[
    "event loop held",
    "interpreter busy",
    "processors busy",
    "garbage collection",
    "threads used up",
    "waiting in line",
    "application",
    "not reached",
    "not found",
    "neither",
]


class Place(Struct, frozen=True, kw_only=True):
    """A place in the code, and its share of the time in which somebody was held up."""

    place: str
    """`file.py:12 in function`: the innermost line of the application, or what its framework does for it."""
    share: float
    call: str | None = None
    """What it calls, and what that call was doing: `requests.get -> socket.recv_into`."""
    waits: bool | None = None
    """Whether it waits there rather than computes; None if that was not measured."""
    caller: str | None = None
    """The line of the `async def` that led there, if that is another line."""


class Answer(Struct, frozen=True, kw_only=True):
    """One status that was answered, and what its answers said."""

    status: int
    count: int
    location: str | None = None
    """Where a redirect leads."""
    detail: str | None = None
    """The beginning of the body."""


class LeftTask(Struct, frozen=True, kw_only=True):
    """The asyncio tasks that one line of the application created and that outlived their requests."""

    call: str
    """The coroutine function's name."""
    place: str
    count: int
    finished: int = 0
    failed: int = 0
    cancelled: int = 0
    lost: int = 0
    """Taken by the garbage collector before they ended."""
    unfinished: int = 0
    """Still running at the end of the run."""
    longest_s: Seconds
    """From the answer to the end of the last one, or of the run."""
    error: str | None = None
    """Of the first one that failed."""
    kept: bool
    """Whether something keeps a reference to them; without one, they may vanish before they end."""


class NeverRanTask(Struct, frozen=True, kw_only=True):
    """The background tasks that one line of the application added and that never ran: they are lost."""

    call: str
    """The function's name."""
    place: str | None
    """None if no line of the application added them."""
    count: int
    status: int
    """The status of the first of these requests."""
    because: str | None = None
    """The reason, if known."""
    by_error: bool = False
    """Whether the reason is the exception behind that status: a Response of that status would have let them run."""


class Blocking(Struct, frozen=True, kw_only=True):
    """Whether the endpoint of the user's own application holds up others, and a guess at the cause."""

    blocks: bool
    """False also where nothing is proven: with the cause `not found`."""
    cause: Cause
    """`waiting in line`: callers wait for one lock or pool, and hold up nobody else. `application`: its own task or
    thread held others up, and not this endpoint. `not reached`: most answers were refusals or errors. `not found`: a
    bystander waited for long, and nothing that was seen explains it."""
    loop_wait_s: Seconds | None = None
    """The longest that the bystander on the event loop waited."""
    threads_wait_s: Seconds | None = None
    """The longest that the bystander in a worker thread waited."""
    processor_wait_s: Seconds | None = None
    """The longest that a thread of the server had to wait for a processor at once, where that explains the waits."""
    places: list[Place] = []
    longest_s: Seconds | None = None
    """The longest time for which the event loop was seen blocked in one piece."""
    change: str | None = None
    """What to write instead."""
    rule: str | None = None
    """The rule of ruff that finds such a call in the source."""
    answers: list[Answer] = []
    """Empty if all were successes."""
    type_instead: str | None = None
    """The option that would reach the endpoint."""
    endless: int = 0
    """Answers that had begun and were still going on when the run was ended: streams."""
    after_answer_s: Seconds | None = None
    """For how long background tasks went on after the answer, at the longest."""
    after_answer_error: str | None = None
    """The error of the first background task that failed."""
    left: list[LeftTask] = []
    never_ran: list[NeverRanTask] = []
