"""`taskdemo limits`: one experiment for each mode and each limit, on fresh servers; cells hold what was observed.

What `yes`, `partly` and `no` mean is said at the head of each experiment's module, and in docs/limits.md. Experiments
run a few at a time, except those that measure what others would disturb: these come first.
"""

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal, Protocol, TypeAlias

from taskdemo_cli.documents.environment import command_line, environment
from taskdemo_cli.documents.limits import Cell, FailedExperiment, LimitsDocument
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
from taskdemo_cli.limits.trial import CannotStartError, Starter, StoppedError, Trial
from taskdemo_cli.processes.servers import ForkServer
from taskdemo_cli.processes.signals import StopRequest
from taskdemo_server.contract.modes import MODE_BY_NAME

Experiment: TypeAlias = Callable[[Trial], Cell]

EXPERIMENTS: Final[dict[str, tuple[str, Experiment]]] = {
    "track": ("asks the engine for a task's state", track),
    "cancel": ("cancels a waiting and a running task", cancel),
    "retry": ("lets work fail twice", retry),
    "orchestrate": ("lets steps need the results of others", orchestrate),
    "offload": ("computes", offload),
    "neighbours": ("asks for something else meanwhile", neighbours),
    "distribute": ("starts a second machine's worth", distribute),
    "survive_restart": ("restarts the server", survive_restart),
    "survive_server_kill": ("kills the server", survive_server_kill),
    "survive_worker_kill": ("kills the process that runs a task", survive_worker_kill),
    "failure": ("lets a task raise", failure),
    "late_error": ("raises after the hand-over", late_error),
    "hang_up": ("hangs up", hang_up),
    "middleware": ("puts a BaseHTTPMiddleware in front", middleware),
    "session": ("opens a session beside the task", session),
    "context": ("sets context variables", context),
}
"""For each limit, in the order of the table, what its experiment does, and the experiment."""
LIMITS: Final = tuple(EXPERIMENTS)
SHARING: Final = (
    ("offload", "neighbours"),
    ("survive_server_kill", "survive_worker_kill"),
    ("survive_restart",),
    ("track", "retry", "orchestrate"),
    ("failure", "late_error", "hang_up", "middleware", "session", "context"),
)
"""Limits whose experiments share what they see, or a server: they are carried out one after another, in one trial.

The long ones, which are begun first, that nothing is left to wait for at the end; the others follow, each in its own.
"""
SHARING_WORKERS: Final = (
    ("offload", "neighbours"),
    ("distribute", "survive_server_kill", "survive_worker_kill"),
    ("survive_restart",),
    ("track", "retry", "orchestrate", "failure", "late_error", "hang_up", "middleware", "session", "context"),
)
"""The same where the mode has workers: fewer trials, because these take longer to start than most experiments do."""
ALONE: Final = frozenset({"offload", "neighbours"})
"""Limits whose figures would suffer from others running beside them."""
AT_ONCE: Final = 12
"""Experiments beside each other: they mostly wait."""
_TICK_S: Final = 0.1
_END_TIMEOUT_S: Final = 5.0

Job: TypeAlias = tuple[str, tuple[str, ...]]
"""A mode, and the limits that share a trial."""
News: TypeAlias = tuple[Literal["start", "done", "failed", "skip", "stopped", "over"], str, str, Any]


class Screen(Protocol):
    """Whatever shows the table while it fills in."""

    def start(self, mode: str, limit: str, what: str) -> None:
        """Say that an experiment begins; `what` is what it does, in words."""

    def done(self, mode: str, limit: str, found: Cell) -> None:
        """Show what it found."""

    def fail(self, mode: str, limit: str, why: str) -> None:
        """Say that it could not be carried out: its cell stays empty."""

    def skip(self, mode: str, why: str) -> None:
        """Say that a mode cannot be run."""


def run(
    modes: Sequence[str],
    screen: Screen,
    stopping: StopRequest,
    folder: Path,
    *,
    broker: str | None = None,
    backend: str | None = None,
    limits: Sequence[str] = LIMITS,
    skipped: Sequence[Skipped] = (),
) -> LimitsDocument:
    """Run the experiments of every mode and limit, and return what they showed; `folder` is private and ours.

    Where `stopping` is asked meanwhile, the cells so far are returned. `skipped` are modes that are not even tried.
    """
    started_at = datetime.now(UTC).isoformat(timespec="milliseconds")
    for one in skipped:
        screen.skip(one.mode, one.why)
    with ForkServer() as fork_server, Broker(folder, broker, backend) as shared:
        campaign = _Campaign(modes, limits, folder, Starter(fork_server, shared, stopping), stopping, screen)
        campaign.run()
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
        started_at=started_at,
        environment=environment(),
        command=command_line(),
    )


class _Campaign:
    """All experiments: threads carry them out, the main thread takes in what they report and shows it."""

    def __init__(
        self,
        modes: Sequence[str],
        limits: Sequence[str],
        folder: Path,
        starter: Starter,
        stopping: StopRequest,
        screen: Screen,
    ) -> None:
        jobs: list[Job] = []
        for sharing, has_workers in ((SHARING_WORKERS, True), (SHARING, False)):
            groups = [*sharing, *((limit,) for limit in LIMITS if not any(limit in group for group in sharing))]
            asked = [tuple(limit for limit in group if limit in limits) for group in groups]
            these = [mode for mode in modes if (MODE_BY_NAME[mode].engine is not None) == has_workers]
            jobs += [(mode, group) for group in asked if group for mode in these]
        self._together = [job for job in jobs if not ALONE & set(job[1])]
        self._alone = [job for job in jobs if ALONE & set(job[1])]
        self._folder = folder
        self._stopping = stopping
        self._screen = screen
        self._news: queue.SimpleQueue[News] = queue.SimpleQueue()
        self._starter = starter
        self.cells: dict[tuple[str, str], Cell] = {}
        self.failed: dict[tuple[str, str], FailedExperiment] = {}
        self.skipped: dict[str, str] = {}

    def run(self) -> None:
        """Carry out everything, or what can be until the command is asked to stop."""
        self._carry_out(self._alone, 1)
        self._carry_out(self._together, AT_ONCE)

    def _carry_out(self, jobs: list[Job], at_once: int) -> None:
        waiting: queue.SimpleQueue[Job] = queue.SimpleQueue()
        for job in jobs:
            waiting.put(job)
        threads = [
            threading.Thread(target=self._work, args=(waiting,), name=f"experiments {n + 1}", daemon=True)
            for n in range(at_once)
        ]
        for thread in threads:
            thread.start()
        at_work = len(threads)
        try:
            while at_work:
                with contextlib.suppress(queue.Empty):
                    at_work -= self._take(*self._news.get(timeout=_TICK_S))
        finally:
            # A second Ctrl-C may have ended the loop; servers end with their fork server, whatever the threads do.
            if at_work:
                self._starter.end()
            deadline = time.monotonic() + _END_TIMEOUT_S
            for thread in threads:
                thread.join(max(deadline - time.monotonic(), 0))

    def _work(self, waiting: "queue.SimpleQueue[Job]") -> None:
        """Carry out one experiment after another: a thread's whole life."""
        while not self._starter.stopped():
            try:
                mode, limits = waiting.get_nowait()
            except queue.Empty:
                break
            if mode not in self.skipped:
                self._try(mode, limits)
        self._news.put(("over", "", "", None))

    def _try(self, mode: str, limits: tuple[str, ...]) -> None:
        """Carry out the experiments that share a trial; what goes wrong in one ends it, and goes for those after it."""
        left, why = list(limits), None
        how: Literal["skip", "failed", "stopped"] = "failed"
        try:
            with Trial(mode, self._folder / f"{mode}-{limits[0]}", self._starter) as trial:
                while left:
                    what, experiment = EXPERIMENTS[left[0]]
                    self._news.put(("start", mode, left[0], what))
                    self._news.put(("done", mode, left[0], experiment(trial)))
                    del left[0]
        except CannotStartError as error:
            how, why = "skip", str(error)
        except UserError as error:
            why = str(error)
        except StoppedError:
            how = "stopped"
        except Exception as error:  # noqa: BLE001  one that goes wrong must not take other trials along
            why = f"{type(error).__name__}: {error}"
        for limit in left:
            self._news.put((how, mode, limit, why))

    def _take(self, what: str, mode: str, limit: str, content: Any) -> bool:
        """Take in a piece of news; return whether it was a thread's last."""
        match what:
            case "start":
                self._screen.start(mode, limit, content)
            case "done":
                self.cells[mode, limit] = content
                self._screen.done(mode, limit, content)
            case "failed":
                self.failed[mode, limit] = FailedExperiment(mode=mode, limit=limit, why=content)
                self._screen.fail(mode, limit, content)
            case "skip" if any(done == mode for done, _ in self.cells):
                self._take("failed", mode, limit, content)
            case "skip" if mode not in self.skipped:
                self.skipped[mode] = content
                self._screen.skip(mode, content)
        return what == "over"
