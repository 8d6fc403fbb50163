"""What the server of the user's own application has seen of it, folded from lines of its journal.

Pure: no I/O and no clock. `taskdemo_server.user_app` writes these lines; seconds everywhere, on the server's clock.
"""

import contextlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, Final, Literal

from msgspec import DecodeError, Struct, ValidationError
from msgspec.json import Decoder

Whose = Literal["request", "background", "task", "thread", "application"]
"""Whose code it was: a request's, after its answer, a task's that outlived one, a worker thread's, or none of these."""


class Observation(Struct, frozen=True, kw_only=True):
    """One thing that was seen: as `taskdemo_server.user_app.stacks.Look`, and for how long."""

    place: str
    call: str | None = None
    caller: str | None = None
    function: str | None = None
    in_loop: bool = False
    may_be_plain: bool = False
    library: str | None = None
    in_line: bool = False
    of: Whose
    seconds: float
    cpu_s: float = 0.0
    queued_s: float = 0.0
    free_s: float = 0.0
    """For how long others could have Python's interpreter meanwhile."""


class Stall(Struct, frozen=True, kw_only=True):
    """A time during which the event loop did not come round."""

    stall: int
    lasted_s: float
    cpu_s: float
    """What the loop's own thread has computed."""
    queued_s: float
    """For how long it waited for a processor: the machine had others to serve."""
    gc_s: float
    idle: bool
    """Whether no request was open when it began."""
    ended: bool
    looks: list[Observation] = []
    others: list[Observation] = []
    """What other threads computed meanwhile; their `seconds` are CPU seconds."""


class Waiting(Struct, frozen=True, kw_only=True):
    """What open requests waited for, in request-seconds."""

    waiting: list[Observation]
    loop: list[Observation] = []
    """What the event loop's thread did meanwhile, in seconds: many short pieces of work hold others up, too."""
    open_s: float
    """Request-seconds that were looked at."""
    over_s: float
    """Seconds that these looks cover."""
    full_s: float
    """Seconds during which every worker thread was taken, and somebody waited for one."""
    queued_s: float = 0.0
    """The longest that a thread which asks for next to nothing had to wait for a processor at once."""


class Answered(Struct, frozen=True, kw_only=True):
    """The first answer of its kind that was no success."""

    answer: int
    path: str
    location: str | None = None
    allow: str | None = None
    authenticate: str | None = None
    detail: str = ""


class Left(Struct, frozen=True, kw_only=True):
    """An asyncio task that outlived the request which created it."""

    left: int
    call: str
    place: str
    kept: bool
    state: Literal["running", "finished", "failed", "cancelled", "lost"]
    error: str | None = None
    after_s: float
    """How long after the answer it ended, or was looked at."""


class NeverRan(Struct, frozen=True, kw_only=True):
    """A background task that a request added, and that had not begun when the request was over."""

    never_ran: str
    """Its function's name."""
    place: str | None = None
    """Where it was added; None where that was not in the application's own code."""
    status: int
    because: str | None = None


class Sightings(Struct, frozen=True, kw_only=True):
    """All that was seen during one run."""

    stalls: Sequence[Stall] = ()
    waiting: Sequence[Waiting] = ()
    answers: Sequence[Answered] = ()
    left: Sequence[Left] = ()
    never_ran: Sequence[NeverRan] = ()

    @property
    def is_quiet(self) -> bool:
        """Whether nothing was going on any more at the last look."""
        return all(stall.ended for stall in self.stalls) and all(task.state != "running" for task in self.left)


KINDS: Final[dict[bytes, Decoder[Any]]] = {
    b'"stall"': Decoder(Stall),
    b'"waiting"': Decoder(Waiting),
    b'"answer"': Decoder(Answered),
    b'"left"': Decoder(Left),
    b'"never_ran"': Decoder(NeverRan),
}
"""By the name with which a line begins."""


def fold(lines: Iterable[bytes]) -> Sightings:
    """Return what these lines of the journal say; of a stall and of a task, the last line counts."""
    found: defaultdict[type, list[Any]] = defaultdict(list)
    for line in lines:
        if (decoder := KINDS.get(line[1:].partition(b":")[0])) is not None:
            with contextlib.suppress(DecodeError, ValidationError):  # a line that was torn
                found[decoder.type].append(decoder.decode(line))
    return Sightings(
        stalls=list({stall.stall: stall for stall in found[Stall]}.values()),
        waiting=found[Waiting],
        answers=found[Answered],
        left=list({task.left: task for task in found[Left]}.values()),
        never_ran=found[NeverRan],
    )
