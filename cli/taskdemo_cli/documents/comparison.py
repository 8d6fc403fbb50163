"""A comparison: the same burst at several modes, and what it means."""

from typing import Literal

from msgspec import UNSET, Struct, UnsetType

from taskdemo_cli.documents.run import Document, RunDocument, Skipped, ThresholdRow


class Verdict(Struct, frozen=True, kw_only=True):
    """What was seen in one mode, computed from its figures."""

    mode: str
    text: str
    short: str = ""
    """The same in one line."""


class Difference(Struct, frozen=True, kw_only=True):
    """A figure minus the reference's: the mean over the rounds, and its 95 % interval."""

    mean: float
    low: float
    high: float
    within_noise: bool


class Interval(Struct, frozen=True, kw_only=True):
    """One figure of one mode over the rounds: its mean, the 95 % interval, the difference to the reference."""

    mode: str
    figure: str
    """A path into the summary, such as `response_s.p50`."""
    rounds: int
    mean: float
    low: float
    high: float
    difference: Difference | None = None
    """None for the reference itself, and if fewer than two rounds have both figures."""


class Recommendation(Struct, frozen=True, kw_only=True):
    """Which mode to use for a need, on what evidence, what it gives up, and the endpoint to paste."""

    need: str = ""
    """The name that --need takes, or several separated by commas; empty if none was named."""
    mode: str | None
    """None if no mode that was run meets the need, or the runs allow no recommendation: `why` says which."""
    why: str
    gives_up: list[str] = []
    code: str = ""
    """Empty if there is no mode."""
    basis: str = ""
    """How it is known what the mode gives up, in words."""


class ComparisonDocument(Document, frozen=True, kw_only=True):
    """The same burst at several modes."""

    kind: Literal["comparison"] = "comparison"
    reference: str
    rounds: int
    runs: list[RunDocument] = []
    verdicts: list[Verdict] = []
    intervals: list[Interval] = []
    """Empty with one round."""
    skipped: list[Skipped] = []
    thresholds: list[ThresholdRow] | UnsetType = UNSET
    recommendations: list[Recommendation] | UnsetType = UNSET
    """For each need by itself; empty if nothing can be recommended."""
    recommendation: Recommendation | UnsetType | None = UNSET
    """For all needs that were named, or for none; missing if the runs show too little."""
