"""What is known of the server before it is measured: the rate that arithmetic gives, and where the search begins."""

import math
from dataclasses import dataclass, replace
from typing import Final

from taskdemo_cli.documents.capacity import CapacityCause
from taskdemo_server.contract.modes import MODE_BY_NAME, Mode
from taskdemo_server.contract.settings import BUILT_IN_WORKS, Settings

RESOLUTION: Final = 1.1
"""The search ends when the rate that failed is at most this many times the one that was sustained."""
COARSE: Final = 1.25
"""The same if the work sets no bound: the machine is the limit then, and other load on it moves that by more."""
SETTLING_S: Final = 0.3
"""The time for opening connections, besides the first work, before a step is judged."""
FIRST_SHARE: Final = 0.95
"""The first rate, as a share of the calculated one."""
UNBOUNDED_FROM: Final = 800.0
"""The first rate if the work itself sets no bound."""
UNKNOWN_FROM: Final = 10.0
"""The first rate if nothing is known of the server."""
FEWEST: Final = 6
"""A step of fewer requests shows nothing."""
MORE: Final = 2
"""How many times the threads or processes are tried, to confirm that they were what gave in."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What is known of the server before it is measured."""

    settings: Settings | None = None
    """Of the private server; None if the server is not ours."""
    work_s: float = 0.0
    """How long one piece of work takes: as configured, or as a single request showed."""
    is_async: bool = False
    """Whether the user's own function can be awaited, as its server says."""

    @classmethod
    def from_settings(cls, settings: Settings) -> "Subject":
        """Return the subject that these settings describe."""
        subject = cls(settings)
        return subject if subject.is_measured else cls(settings, settings.duration)

    @property
    def mode(self) -> Mode | None:
        """The mode; None for the user's own application and for a URL."""
        return None if self.settings is None else MODE_BY_NAME.get(self.settings.mode)

    @property
    def is_measured(self) -> bool:
        """Whether only a first request can show how long the work takes."""
        return self.settings is None or self.settings.work not in BUILT_IN_WORKS or self.settings.app is not None

    @property
    def at_once(self) -> int | None:
        """How many tasks can make progress at once; None if the work itself sets no bound, or it is unknown."""
        if self.settings is None or self.mode is None:
            return None
        if self.mode.runs in {"process", "worker"}:
            return self.settings.tasks_at_once
        if self.settings.work == "cpu":  # threads share one interpreter
            return 1
        if self.mode.runs == "thread":
            return self.settings.threads
        return None if self.mode.awaits and (self.settings.work == "sleep" or self.is_async) else 1

    @property
    def expected_per_s(self) -> float | None:
        """The rate that arithmetic gives; None if the work sets no bound, or nothing is known of it."""
        return self.at_once / self.work_s if self.work_s and self.at_once is not None else None

    @property
    def first_rate(self) -> float:
        """The rate of the first step: a little below the calculated one, if there is one."""
        if self.expected_per_s is not None:
            return FIRST_SHARE * self.expected_per_s
        return UNKNOWN_FROM if self.mode is None else UNBOUNDED_FROM

    @property
    def resolution(self) -> float:
        """How close the rate that failed must come to the one that was sustained, as their ratio."""
        return COARSE if self.mode is not None and self.expected_per_s is None else RESOLUTION

    @property
    def settling_s(self) -> float:
        """The seconds after the first send that are not judged: until the first tasks have ended."""
        return SETTLING_S + self.work_s

    @property
    def shortest_step_s(self) -> float:
        """The seconds that a step needs for its backlog to show anything: some work must be requested and end in it."""
        return max(2 * self.work_s, (FEWEST + 1) / (self.expected_per_s or math.inf))

    def with_more(self, cause: CapacityCause | None) -> tuple[str, Settings] | None:
        """Return the option that should help, as typed, and the settings with it; None if none is known."""
        if self.settings is not None and self.mode is not None and cause == "threads":
            threads = MORE * self.settings.threads
            return f"--threads {threads}", replace(self.settings, threads=threads)
        if self.settings is not None and self.settings.broker is None and cause == "processes":
            processes = MORE * self.settings.tasks_at_once
            return f"--processes {processes}", replace(self.settings, processes=processes)
        return None
