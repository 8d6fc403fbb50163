"""What the server observes in the user's own application: journal lines, beside those of the tasks.

They are read after the run. Seconds everywhere.
"""

from typing import Final, Literal, TypeAlias

from msgspec import Struct
from msgspec.json import Decoder

from taskdemo_server.contract.events import Line

Whose: TypeAlias = Literal["request", "background", "task", "thread", "application"]
"""Whose code: a request's, a background task's, a left-behind asyncio task's, a worker thread's, or none of these."""

FrameworkStep: TypeAlias = Literal["serialising", "validating", "compressing"]
"""What a framework does for the application while none of the application's own code runs."""

LeftState: TypeAlias = Literal["running", "finished", "failed", "cancelled", "lost"]


class Look(Struct, frozen=True, omit_defaults=True):
    """What one look at a stack shows."""

    place: str
    """`file.py:12 in function`, the application's innermost line; or what its framework does for it.

    Empty if it was not seen."""
    call: str | None = None
    """What it calls there: `requests.get`."""
    by_now: str | None = None
    """What that call is doing by now, if it has called something else: `socket.recv_into`."""
    caller: str | None = None
    """The line in the `async def` (in a thread: the outermost function) that led there, if that is another function.

    If none of the application's code is there, the endpoint or the dependency of a library."""
    within: str | None = None
    """The name of the caller's function, else of the place's; None if neither is the application's."""
    step: FrameworkStep | None = None
    """What its framework does for it there, if anything."""
    function: str | None = None
    """The function that the caller, else the place, calls there."""
    in_loop: bool = False
    """Whether it makes that call in a loop."""
    may_be_plain: bool = False
    """Whether that is an endpoint or a dependency that need not be an `async def`, because it awaits nothing."""
    is_plain: bool = False
    """Whether no `async def` of the application led there, as when a framework calls a plain function."""
    library: str | None = None
    """The package that it calls, if that is written in Python."""
    in_line: bool = False
    """Whether it waits for a lock, a queue or a pool that others use."""

    @property
    def calling(self) -> str | None:
        """What it calls there, and what that is doing by now, for people: `requests.get -> socket.recv_into`."""
        return f"{self.call} -> {self.by_now}" if self.by_now else self.call


class Observation(Look, frozen=True, kw_only=True):
    """A look, with how long it was seen, and how much of that was computing or waiting for a processor."""

    of: Whose
    seconds: float = 0.0
    cpu_s: float = 0.0
    queued_s: float = 0.0
    free_s: float = 0.0
    """For how long others could take the GIL meanwhile."""


class Sighting(Struct, Line, tag=True, tag_field="seen", omit_defaults=True):
    """One journal line that begins with its kind: `{"seen":"Stall",`."""


class Stall(Sighting):
    """A time during which the event loop was blocked. Lines are repeated while it lasts; the last one counts."""

    number: int
    idle: bool
    """Whether no request was open when it began."""
    lasted_s: float = 0.0
    cpu_s: float = 0.0
    """CPU seconds of the loop's own thread."""
    queued_s: float = 0.0
    """For how long that thread waited for a processor that others used."""
    gc_s: float = 0.0
    ended: bool = False
    looks: list[Observation] = []
    others: list[Observation] = []
    """What other threads computed meanwhile; their `seconds` are CPU seconds."""

    @property
    def net_s(self) -> float:
        """How long it lasted without the time that the machine spent on other processes."""
        return self.lasted_s - self.queued_s


class Waiting(Sighting):
    """What open requests waited for, in request-seconds, since the previous line."""

    waiting: list[Observation] = []
    loop: list[Observation] = []
    """What the event loop's thread did meanwhile, late or not: many short pieces of work delay others too."""
    open_s: float = 0.0
    """Request-seconds that the looks cover."""
    over_s: float = 0.0
    """Seconds that the looks cover."""
    full_s: float = 0.0
    """Seconds during which every worker thread was busy and something waited for one."""
    queued_s: float = 0.0
    """The longest single wait for a processor, seen by a thread that needs next to none."""


class Answered(Sighting):
    """The first unsuccessful answer for its method, path and status."""

    status: int
    path: str
    location: str | None = None
    allow: str | None = None
    authenticate: str | None = None
    detail: str = ""
    """The beginning of its body; or what is known about the path, if that says more."""


class Left(Sighting):
    """An asyncio task that outlived the request that created it. Of its lines, the last one counts."""

    number: int
    request: str
    """The id of that request."""
    call: str
    place: str
    kept: bool
    state: LeftState
    after_s: float
    """How long after the answer it ended, or was last looked at."""
    error: str | None = None


class NeverRan(Sighting):
    """A background task that a request added and that had not started when the request was over."""

    call: str
    """Its function's name."""
    status: int
    place: str | None = None
    """Where it was added; None if that was not in the application's own code."""
    because: str | None = None
    """What came before it, if known; otherwise only an error `status` may explain it."""


BEGIN: Final = b'{"seen":'
"""The prefix of a sighting's line, and of no other line."""
decode: Final = Decoder(Stall | Waiting | Answered | Left | NeverRan).decode
