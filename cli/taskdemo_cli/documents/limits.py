"""The limits: what every experiment has shown of every mode."""

from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal

from msgspec import UNSET, Struct, UnsetType

from taskdemo_cli.documents.run import Skipped
from taskdemo_server.contract.events import VERSION

LIMITS: Final = (
    "track",
    "cancel",
    "retry",
    "orchestrate",
    "offload",
    "neighbours",
    "distribute",
    "survive_restart",
    "survive_server_kill",
    "survive_worker_kill",
    "failure",
    "late_error",
    "hang_up",
    "middleware",
    "session",
    "context",
)
"""The limits, in the order of every table."""


class Cell(Struct, frozen=True, kw_only=True):
    """What the experiment about one limit of one mode showed."""

    verdict: Literal["yes", "no", "partly"]
    measured: dict[str, Any] = {}
    """The figures; `figure` among them is the one beside the verdict, a few characters of text."""
    text: str


class FailedExperiment(Struct, frozen=True, kw_only=True):
    """An experiment that could not be carried out to its end, and why: its cell is missing."""

    mode: str
    limit: str
    why: str


class LimitsDocument(Struct, frozen=True, kw_only=True):
    """Every experiment of `taskdemo limits`."""

    taskdemo: str = VERSION
    kind: Literal["limits"] = "limits"
    modes: dict[str, dict[str, Cell]] = {}
    skipped: list[Skipped] = []
    failed: list[FailedExperiment] | UnsetType = UNSET
    interrupted: bool | UnsetType = UNSET
    started_at: str | UnsetType = UNSET
    """ISO 8601, in UTC; results of older versions have none."""
    environment: dict[str, Any] = {}
    command: str = ""


def limits_in(modes: Mapping[str, Iterable[str]]) -> list[str]:
    """Return the limits of which these modes have cells: those we know in their own order, then any others."""
    found = dict.fromkeys(name for cells in modes.values() for name in cells)
    return [*(name for name in LIMITS if name in found), *(name for name in found if name not in LIMITS)]
