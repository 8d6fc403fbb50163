"""What a server observed of the user's own application, folded from lines of its journal.

Pure: no I/O and no clock.
"""

import contextlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from msgspec import DecodeError, Struct

from taskdemo_server.contract.sightings import BEGIN, Answered, Left, NeverRan, Stall, Waiting, decode


class Sightings(Struct, frozen=True, kw_only=True):
    """Everything observed during one run."""

    stalls: Sequence[Stall] = ()
    waiting: Sequence[Waiting] = ()
    answers: Sequence[Answered] = ()
    left: Sequence[Left] = ()
    never_ran: Sequence[NeverRan] = ()

    @property
    def is_quiet(self) -> bool:
        """Whether all stalls have ended and no task left behind is still running."""
        return all(stall.ended for stall in self.stalls) and all(task.state != "running" for task in self.left)


def fold(lines: Iterable[bytes]) -> Sightings:
    """Return the sightings in these lines of the journal; the last line of each stall and task counts."""
    found: defaultdict[type, list[Any]] = defaultdict(list)
    for line in lines:
        if line.startswith(BEGIN):
            with contextlib.suppress(DecodeError):  # a torn line
                seen = decode(line)
                found[type(seen)].append(seen)
    return Sightings(
        stalls=list({stall.number: stall for stall in found[Stall]}.values()),
        waiting=found[Waiting],
        answers=found[Answered],
        left=list({task.number: task for task in found[Left]}.values()),
        never_ran=found[NeverRan],
    )
