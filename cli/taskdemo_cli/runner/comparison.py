"""Conducts a comparison: the same burst at a server of every mode, one after the other."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from taskdemo_cli.documents.run import RunDocument, RunHeader, Skipped
from taskdemo_cli.errors import UserError
from taskdemo_cli.loadgen.protocol import Plan
from taskdemo_cli.processes import servers
from taskdemo_cli.runner.burst import at
from taskdemo_cli.runner.rig import Rig
from taskdemo_cli.runner.target import Target, again, check_worker, find_target

if TYPE_CHECKING:  # it takes its time to load
    from taskdemo_cli.reports.terminal.live import ComparisonScreen, PlainComparison


def compare(
    rig: Rig,
    started: Sequence[servers.Server],
    plan: Plan,
    screen: "ComparisonScreen | PlainComparison",
    header: RunHeader,
    *,
    rounds: int = 1,
    cold: bool = False,
    keep: Callable[[list[RunDocument]], None] = lambda _: None,
) -> tuple[list[RunDocument], list[Skipped]]:
    """Fire the same plan at each of the servers that were `started`, one after the other, and return every run.

    All of them serve before the first measurement, so that no run is disturbed by another's imports. With several
    `rounds` the order is reversed from one to the next, so that a machine that warms up or slows down favours
    nobody. Each is warmed up before it is measured, unless `cold`. `keep` is called with the runs so far after each. A
    server that does not start is skipped, and says why.
    """
    runs: list[RunDocument] = []
    skipped: list[Skipped] = []
    targets: list[Target] = []
    for server in started:
        try:
            servers.await_ready(server, rig.stopping.check)
            target = find_target(server.url, server=server)
            check_worker(target)
            targets.append(target)
        except (UserError, OSError) as error:
            skipped.append(Skipped(mode=server.settings.mode, why=str(error)))
    if targets or len({one.why for one in skipped}) > 1:  # otherwise that one reason is the command's error
        for one in skipped:
            screen.skip(one.mode, one.why)
    for number in range(1, rounds + 1):
        for served in targets[:] if number % 2 else targets[::-1]:
            stage = f"round {number} of {rounds}" if rounds > 1 else ""
            screen.start(str(served.mode), stage)
            target, warm_up = served if number == 1 else again(served), 0
            if not cold:
                try:
                    target, warm_up = rig.warmed_up(target, at(plan, target))
                except UserError as error:
                    targets.remove(served)
                    skipped.append(Skipped(mode=str(served.mode), why=str(error)))
                    screen.skip(str(served.mode), str(error))
                    continue
            run = rig.measure(target, at(plan, target), screen, {**header, "round": number, "warm_up": warm_up})
            runs.append(run)
            screen.done(run)
            keep(runs)
            if rig.stopping.asked:
                return runs, skipped
    return runs, skipped
