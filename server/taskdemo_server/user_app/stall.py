"""A time during which the event loop did not come round, and what was seen meanwhile."""

from collections import defaultdict
from dataclasses import asdict
from typing import Any, Final

from taskdemo_server.user_app.stacks import Look

MOST_LOOKS: Final = 12
"""Looks of a kind that one line tells, those of the most seconds."""


class Spent:
    """For how long something was seen, and what of that was computing and waiting for a processor."""

    __slots__ = ("cpu_s", "free_s", "queued_s", "seconds")

    def __init__(self) -> None:
        self.seconds = self.cpu_s = self.queued_s = self.free_s = 0.0

    def add(self, seconds: float, cpu_s: float = 0.0, queued_s: float = 0.0, *, free: bool = False) -> None:
        """Add a look; `free`: others could have Python's interpreter meanwhile."""
        self.seconds += seconds
        self.cpu_s += cpu_s
        self.queued_s += queued_s
        self.free_s += seconds if free else 0.0


Looks = defaultdict[tuple[Look, str], Spent]
"""By what was seen, and whose it was: a request's (`request`, or after its answer `background`), a `task`'s that
outlived one, a worker `thread`'s, or the `application`'s own."""


class Stall:
    """A time during which the event loop did not come round."""

    def __init__(self, number: int, begun: float, *, idle: bool) -> None:
        self.number = number
        self.begun = begun
        self.looked = begun
        self.until = begun
        self.idle = idle
        """Whether no request was open when it began."""
        self.looks: Looks = defaultdict(Spent)
        self.others: Looks = defaultdict(Spent)
        """What other threads computed while the loop's own thread did nothing of its own."""
        self.total = Spent()
        self.gc_s = 0.0
        self.ended = False

    def line(self) -> dict[str, Any]:
        """Return what is journaled of it."""
        return {
            "stall": self.number, "clock": self.begun, "lasted_s": round(self.until - self.begun, 6),
            "cpu_s": round(self.total.cpu_s, 6), "queued_s": round(self.total.queued_s, 6), "gc_s": round(self.gc_s, 6),
            "idle": self.idle, "ended": self.ended, "looks": in_words(self.looks), "others": in_words(self.others),
        }  # fmt: skip


def in_words(looks: Looks) -> list[dict[str, Any]]:
    """Return the looks of the most seconds, as a line of the journal tells them."""
    most = sorted(looks.items(), key=lambda entry: -entry[1].seconds)[:MOST_LOOKS]
    return [
        {
            **asdict(look), "of": of, "seconds": round(spent.seconds, 6), "cpu_s": round(spent.cpu_s, 6),
            "queued_s": round(spent.queued_s, 6), "free_s": round(spent.free_s, 6),
        }
        for (look, of), spent in most
    ]  # fmt: skip
