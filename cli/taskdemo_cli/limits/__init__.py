"""`taskdemo limits`: one experiment for each mode and each limit, on fresh servers; cells hold the observations.

The docstring of each experiment's module and docs/limits.md define `yes`, `partly` and `no`. Experiments run a few at
a time, except those whose measurements others would disturb: these run first.
"""

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

from taskdemo_cli.documents.environment import provenance
from taskdemo_cli.documents.limits import LIMITS, Cell, FailedExperiment, LimitsDocument
from taskdemo_cli.documents.run import Skipped
from taskdemo_cli.errors import UserError
from taskdemo_cli.limits.backing import Broker
from taskdemo_cli.limits.cancel import cancel
from taskdemo_cli.limits.context import context
from taskdemo_cli.limits.distribute import distribute
from taskdemo_cli.limits.failure import failure
from taskdemo_cli.limits.hang_up import hang_up
from taskdemo_cli.limits.late_error import late_error
from taskdemo_cli.limits.middleware import middleware
from taskdemo_cli.limits.neighbours import neighbours
from taskdemo_cli.limits.offload import offload
from taskdemo_cli.limits.orchestrate import orchestrate
from taskdemo_cli.limits.retry import retry
from taskdemo_cli.limits.session import session
from taskdemo_cli.limits.survive import survive_restart, survive_server_kill, survive_worker_kill
from taskdemo_cli.limits.track import track
from taskdemo_cli.limits.trial import CannotStartError, Trial
from taskdemo_cli.processes.servers import ForkServer
from taskdemo_cli.processes.signals import AskedToStopError, StopRequest
from taskdemo_server.contract.modes import MODE_BY_NAME

if TYPE_CHECKING:  # slow to import
    from taskdemo_cli.reports.terminal.limits import LimitsScreen

Experiment: TypeAlias = Callable[[Trial], Cell]

ALONE: Final[tuple[Experiment, ...]] = (offload, neighbours)
"""Experiments whose figures others would distort by running at the same time; they share one trial's observations."""
SHARING: Final[tuple[tuple[Experiment, ...], ...]] = (
    (cancel,),
    (distribute, survive_server_kill, survive_worker_kill),
    (late_error, hang_up, middleware, session, context, survive_restart),
    (track, retry, orchestrate, failure),
)
"""The other experiments, in few trials, because servers and workers take longer to start than most experiments take.

The trials take about equally long. A restart may leave something behind, so it comes last.
"""
EXPERIMENTS: Final = {one.__name__: one for one in chain(ALONE, *SHARING)}
"""Experiments by the name of their limit."""
AT_ONCE: Final = 12
"""Experiments that run concurrently: they mostly wait."""
_TICK_S: Final = 0.05
_END_TIMEOUT_S: Final = 5.0

Job: TypeAlias = tuple[str, tuple[str, ...]]
"""A mode, and the limits that share a trial."""


def run(
    modes: Sequence[str],
    screen: "LimitsScreen",
    stopping: StopRequest,
    folder: Path,
    *,
    broker: str | None = None,
    backend: str | None = None,
    limits: Sequence[str] = LIMITS,
    skipped: Sequence[Skipped] = (),
) -> LimitsDocument:
    """Run the experiments for every mode and limit and return their results; `folder` must be private to this run.

    If `stopping` is asked meanwhile, return the cells so far. `skipped` lists modes that are not tried at all.
    """
    begun = provenance()
    for one in skipped:
        screen.skip(one.mode, one.why)

    def jobs(*groups: tuple[Experiment, ...]) -> list[Job]:
        asked = [tuple(one.__name__ for one in group if one.__name__ in limits) for group in groups]
        return [(mode, group) for group in asked if group for mode in modes]

    with ForkServer() as fork_server, Broker(folder, broker, backend) as shared:
        campaign = _Campaign(folder, fork_server, shared, stopping, screen)
        campaign.carry_out(jobs(ALONE), 1)
        campaign.carry_out(jobs(*SHARING), AT_ONCE)
    cells = campaign.cells
    return LimitsDocument(
        modes={
            mode: {limit: cells[mode, limit] for limit in limits if (mode, limit) in cells}
            for mode in modes
            if mode not in campaign.skipped
        },
        skipped=[*skipped, *[Skipped(mode=mode, why=why) for mode, why in campaign.skipped.items()]],
        failed=[failed for failed in campaign.failed.values() if failed.mode not in campaign.skipped],
        interrupted=stopping.asked,
        **begun,
    )


@dataclass(slots=True)
class _Campaign:
    """All experiments: threads run them, and the main thread collects and shows their reports."""

    folder: Path
    fork_server: ForkServer
    broker: Broker
    stopping: StopRequest
    screen: "LimitsScreen"
    news: "queue.SimpleQueue[Callable[[], None]]" = field(default_factory=queue.SimpleQueue)
    """Calls that threads leave for the main thread to make."""
    has_ended: bool = False
    """Whether the main thread has stopped making these calls."""
    cells: dict[tuple[str, str], Cell] = field(default_factory=dict)
    failed: dict[tuple[str, str], FailedExperiment] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)

    def carry_out(self, jobs: Sequence[Job], at_once: int) -> None:
        """Run all jobs, or as many as possible until the command is asked to stop."""
        place = threading.Semaphore(at_once)
        threads = [
            threading.Thread(target=self._try, args=(place, *job), name=f"experiments {n + 1}", daemon=True)
            for n, job in enumerate(jobs)
        ]
        for thread in threads:
            thread.start()
        try:
            while any(thread.is_alive() for thread in threads) or not self.news.empty():
                with contextlib.suppress(queue.Empty):
                    self.news.get(timeout=_TICK_S)()
        except BaseException:
            # For example, a second Ctrl-C. Servers end with their fork server, whatever the threads do.
            self.has_ended = True
            deadline = time.monotonic() + _END_TIMEOUT_S
            for thread in threads:
                thread.join(max(deadline - time.monotonic(), 0))
            raise

    def _is_over(self) -> bool:
        return self.stopping.asked or self.has_ended

    def _try(self, place: threading.Semaphore, mode: str, limits: tuple[str, ...]) -> None:
        """Run the experiments that share a trial; if one raises, it and those after it fail for the same reason."""
        left = list(limits)
        with place:
            if self._is_over() or mode in self.skipped:
                return
            folder = self.folder / f"{mode}-{limits[0]}"
            try:
                with Trial(MODE_BY_NAME[mode], folder, self.fork_server, self.broker, self._is_over) as trial:
                    while left:
                        self.news.put(partial(self.screen.start, mode, left[0]))
                        self.news.put(partial(self._done, mode, left[0], EXPERIMENTS[left[0]](trial)))
                        del left[0]
            except AskedToStopError:
                return
            except Exception as error:  # noqa: BLE001  an error in one trial must not end the others
                take = self._skip if isinstance(error, CannotStartError) else self._fail
                why = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
                for limit in left:
                    self.news.put(partial(take, mode, limit, why))

    def _done(self, mode: str, limit: str, found: Cell) -> None:
        self.cells[mode, limit] = found
        self.screen.done(mode, limit, found)

    def _fail(self, mode: str, limit: str, why: str) -> None:
        self.failed[mode, limit] = FailedExperiment(mode=mode, limit=limit, why=why)
        self.screen.fail(mode, limit, why)

    def _skip(self, mode: str, limit: str, why: str) -> None:
        """Skip a mode whose server does not start; if the mode already has a cell, fail the experiment instead."""
        if any(done == mode for done, _ in self.cells):
            self._fail(mode, limit, why)
        elif mode not in self.skipped:
            self.skipped[mode] = why
            self.screen.skip(mode, why)
