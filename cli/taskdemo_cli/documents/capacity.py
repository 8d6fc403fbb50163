"""The capacity of modes, of an application or of a URL: every step of the search, and what gave in."""

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from taskdemo_cli.documents.run import Document, Skipped, ThresholdRow
from taskdemo_cli.stats import Seconds, Statistics

CapacityCause = Literal[
    "threads",
    "processes",
    "event loop",
    "interpreter",
    "broker",
    "client",
    "threshold",
    "refused",
    "not reached",
    "unknown",
]
"""What gave in. `refused`: requests failed, or the server ended; `unknown`: none of these was seen."""

Rate = Annotated[float, Meta(ge=1e-6, le=1e9)]
"""Requests per second."""

Growth = Annotated[float, Meta(ge=-1e9, le=1e9)]

Backlog = Annotated[float, Meta(ge=0, le=1e12)]


class CapacityStep(Struct, frozen=True, kw_only=True):
    """One run at one rate, and whether it was sustained.

    A request is in the backlog from its planned send until its task has ended, or its answer where it has no task.
    """

    rate: Rate
    """Requests per second."""
    response_s: Statistics | None = None
    corrected_s: Statistics | None = None
    completion_s: Statistics | None = None
    work_s: Statistics | None = None
    bystander_s: Statistics | None = None
    backlog: Backlog
    """At the end of what was judged, averaged over the last span of `curve`."""
    backlog_growth_per_s: Growth
    """The slope of the line fitted to `curve`."""
    growth_low_per_s: Growth
    growth_high_per_s: Growth
    """The 95 % interval of that slope."""
    curve: list[Backlog] = []
    """The backlog, averaged over spans of equal length from `from_s` to `to_s`."""
    from_s: Seconds
    """Where what is judged begins, after the settling time."""
    to_s: Seconds
    failed: int
    max_parallel: int
    """The most tasks that ran at the same moment."""
    sustained: bool
    cause: CapacityCause | None = None
    """None where it was sustained."""
    why: str | None = None
    """The same in words."""


class Confirmation(Struct, frozen=True, kw_only=True):
    """A step with more of what gave in: what it showed is measured, not reckoned."""

    option: str
    """As one types it: `--threads 80`."""
    step: CapacityStep


class ModeCapacity(Struct, frozen=True, kw_only=True):
    """How much one mode, application or URL takes."""

    sustained_per_s: Rate | None
    """The highest rate that was sustained; None where none was. The limit lies between it and the next."""
    failed_at_per_s: Rate | None
    """The lowest rate that was not; None where that was not reached."""
    cause: CapacityCause
    text: str
    expected_per_s: Rate | None
    """What arithmetic says: threads / work, processes / work or 1 / work; None where the work bounds nothing."""
    steps: list[CapacityStep] = []
    """In the order in which they were measured."""
    confirmed: Confirmation | None = None

    @property
    def is_at_least(self) -> bool:
        """Whether it may take more than was sustained."""
        return self.cause in {"client", "not reached"} and self.sustained_per_s is not None


class CapacityDocument(Document, frozen=True, kw_only=True):
    """How much each mode takes: a rate that rises until it gives in, and then closes in."""

    kind: Literal["capacity"] = "capacity"
    modes: dict[str, ModeCapacity] = {}
    """By mode, application or URL."""
    work: str | None = None
    duration_s: Seconds | None = None
    """How long the work was asked to take; None where it is the user's own, which is not asked."""
    step_s: Seconds
    conditions: list[str] = []
    """What --while asked for."""
    skipped: list[Skipped] = []
    interrupted: bool = False
    started_at: str = ""
    thresholds: list[ThresholdRow] | UnsetType = UNSET
