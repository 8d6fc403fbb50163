"""The capacity of modes, of an application or of a URL: every step of the search, and the bottleneck."""

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
    """The backlog at the end, averaged over the last span of `curve`."""
    backlog_growth_per_s: Growth
    """The slope of the line fitted to `curve`."""
    growth_low_per_s: Growth
    growth_high_per_s: Growth
    """The 95 % interval of that slope."""
    curve: list[Backlog] = []
    """The backlog, averaged over spans of equal length from `from_s` to `to_s`."""
    from_s: Seconds
    """When the judged part begins, after the settling time."""
    to_s: Seconds
    failed: int
    max_parallel: int
    """The most tasks that ran at the same moment."""
    sustained: bool
    cause: CapacityCause | None = None
    """None if it was sustained."""
    why: str | None = None
    """The same in words."""


class Confirmation(Struct, frozen=True, kw_only=True):
    """A step with more of what gave in, to check by measuring that it was the bottleneck."""

    option: str
    """As one types it: `--threads 80`."""
    step: CapacityStep


class ModeCapacity(Struct, frozen=True, kw_only=True):
    """The capacity of one mode, application or URL."""

    sustained_per_s: Rate | None
    """The highest rate that was sustained; None if none was. The limit lies between it and the next."""
    failed_at_per_s: Rate | None
    """The lowest rate that was not; None if every rate was sustained."""
    cause: CapacityCause
    text: str
    expected_per_s: Rate | None
    """The calculated rate: threads / work, processes / work or 1 / work; None if the work sets no bound."""
    steps: list[CapacityStep] = []
    """In the order in which they were measured."""
    confirmed: Confirmation | None = None

    @property
    def is_at_least(self) -> bool:
        """Whether it may take more than was sustained."""
        return self.cause in {"client", "not reached"} and self.sustained_per_s is not None


class CapacityDocument(Document, frozen=True, kw_only=True):
    """The capacity of each mode: the rate rises until the mode gives in, then the search closes in on the limit."""

    kind: Literal["capacity"] = "capacity"
    modes: dict[str, ModeCapacity] = {}
    """By mode, application or URL."""
    work: str | None = None
    duration_s: Seconds | None = None
    """The configured duration of the work; None for the user's own function."""
    step_s: Seconds
    conditions: list[str] = []
    """The conditions of --while."""
    skipped: list[Skipped] = []
    interrupted: bool = False
    started_at: str = ""
    thresholds: list[ThresholdRow] | UnsetType = UNSET
