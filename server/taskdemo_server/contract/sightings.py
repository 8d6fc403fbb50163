"""What the server of the user's own application sees of it: lines of the journal, beside those of the tasks.

They are read when all is over. Seconds everywhere.
"""

from typing import Final, Literal, TypeAlias

from msgspec import Struct
from msgspec.json import Decoder

from taskdemo_server.contract.events import Line

Whose: TypeAlias = Literal["request", "background", "task", "thread", "application"]
"""Whose code it was: a request's, after its answer, a task's that outlived one, a worker thread's, or none of these."""

FrameworkStep: TypeAlias = Literal["serialising", "validating", "compressing"]
"""What a framework does for the application where none of its own code runs."""

LeftState: TypeAlias = Literal["running", "finished", "failed", "cancelled", "lost"]


class Look(Struct, frozen=True, omit_defaults=True):
    """What one look at a stack has shown."""

    place: str
    """`file.py:12 in function`, the innermost line of the application; or what its framework does for it.

    Empty where nobody has seen it."""
    call: str | None = None
    """What it calls there: `requests.get`."""
    by_now: str | None = None
    """Where that call is by now, if it has gone on from there: `socket.recv_into`."""
    caller: str | None = None
    """The line of the `async def` (in a thread: the outermost function) that led there, where that is another one."""
    within: str | None = None
    """The name of that function, else of the one that the place is in; None where it is none of the application's."""
    step: FrameworkStep | None = None
    """What its framework does for it there, where it does something."""
    function: str | None = None
    """The function that the caller (else the place) calls there."""
    in_loop: bool = False
    """Whether it calls that in a loop."""
    may_be_plain: bool = False
    """Whether that is an endpoint, or a dependency of one, which is an `async def` without need: it awaits nothing."""
    is_plain: bool = False
    """Whether no `async def` of the application led there, as where a framework calls a plain function."""
    library: str | None = None
    """The package that it calls, where that is written in Python."""
    in_line: bool = False
    """Whether it waits for a lock, a queue or a pool, which others use."""

    @property
    def calling(self) -> str | None:
        """What it calls there, and where that is by now, for people: `requests.get -> socket.recv_into`."""
        return f"{self.call} -> {self.by_now}" if self.by_now else self.call


class Observation(Look, frozen=False, kw_only=True):  # type: ignore[misc]  # it adds up, and is nobody's key
    """For how long that was seen, and what of it was computing and waiting for a processor."""

    of: Whose
    seconds: float = 0.0
    cpu_s: float = 0.0
    queued_s: float = 0.0
    free_s: float = 0.0
    """For how long others could have Python's interpreter meanwhile."""

    def add(self, seconds: float, cpu_s: float = 0.0, queued_s: float = 0.0, *, free: bool = False) -> None:
        """Add a look; `free`: others could have the interpreter meanwhile."""
        self.seconds += seconds
        self.cpu_s += cpu_s
        self.queued_s += queued_s
        self.free_s += seconds if free else 0.0


class Sighting(Struct, Line, tag=True, tag_field="seen", omit_defaults=True):
    """One line, which begins with its kind: `{"seen":"Stall",`."""


class Stall(Sighting):
    """A time during which the event loop did not come round. It has a line every now and then; the last one counts."""

    number: int
    idle: bool
    """Whether no request was open when it began."""
    lasted_s: float = 0.0
    cpu_s: float = 0.0
    """What the loop's own thread has computed."""
    queued_s: float = 0.0
    """For how long it waited for a processor: the machine had others to serve."""
    gc_s: float = 0.0
    ended: bool = False
    looks: list[Observation] = []
    others: list[Observation] = []
    """What other threads computed while the loop's own did nothing of its own; their `seconds` are CPU seconds."""


class Waiting(Sighting):
    """What open requests waited for, in request-seconds, since the line before."""

    waiting: list[Observation] = []
    loop: list[Observation] = []
    """What the event loop's thread did meanwhile, late or not: many short pieces of work hold others up, too."""
    open_s: float = 0.0
    """Request-seconds that were looked at."""
    over_s: float = 0.0
    """Seconds that these looks cover."""
    full_s: float = 0.0
    """Seconds during which every worker thread was taken, and somebody waited for one."""
    queued_s: float = 0.0
    """The longest that a thread which asks for next to nothing had to wait for a processor at once."""


class Answered(Sighting):
    """The first answer of its kind that was no success."""

    status: int
    path: str
    location: str | None = None
    allow: str | None = None
    authenticate: str | None = None
    detail: str = ""
    """The beginning of what it said; or what is known of the path, where that says more."""


class Left(Sighting):
    """An asyncio task that outlived the request which created it. Of its lines, the last one counts."""

    number: int
    call: str
    place: str
    kept: bool
    state: LeftState
    after_s: float
    """How long after the answer it ended, or was looked at."""
    error: str | None = None


class NeverRan(Sighting):
    """A background task that a request added, and that had not begun when the request was over."""

    call: str
    """Its function's name."""
    status: int
    place: str | None = None
    """Where it was added; None where that was not in the application's own code."""
    because: str | None = None
    """What came before it, where that is known; else that answer, if it is an error."""


BEGIN: Final = b'{"seen":'
"""How the line of a sighting begins, and no other."""
decode: Final = Decoder(Stall | Waiting | Answered | Left | NeverRan).decode
