"""What changed between two saved results: printed, and saved nowhere."""

from typing import Literal

from msgspec import Struct

from taskdemo_cli.documents.run import Document

ChangeOutcome = Literal["better", "worse", "within noise", "unknown", "not comparable"]


class Change(Struct, frozen=True, kw_only=True):
    """One figure of one mode, old and new."""

    mode: str
    figure: str
    """A path into the summary, such as `response_s.p50`."""
    old: float
    new: float
    low: float | None = None
    high: float | None = None
    """The 95 % interval of new - old; None if the noise is unknown."""
    outcome: ChangeOutcome


class ChangesDocument(Document, frozen=True, kw_only=True):
    """Two saved results side by side."""

    kind: Literal["changes"] = "changes"
    old: str = ""
    new: str = ""
    """The files."""
    changes: list[Change] = []
    remarks: list[str] = []
    """What makes the two hard to compare, the gravest first: other work, other settings, modes that only one has."""
