"""`compare`: fire the same burst at a private server of each mode, and say what differs."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from msgspec.structs import replace

from taskdemo_cli.analysis import recommendation, verdicts
from taskdemo_cli.commands.keeping import Keeping, has_failed
from taskdemo_cli.documents.comparison import ComparisonDocument
from taskdemo_cli.documents.environment import command_line, environment
from taskdemo_cli.documents.run import RunDocument, Skipped, describe_work
from taskdemo_cli.errors import UserError
from taskdemo_cli.loadgen.os_limits import check_os_limits
from taskdemo_cli.loadgen.protocol import Plan
from taskdemo_cli.processes import servers
from taskdemo_cli.processes.signals import StopRequest
from taskdemo_cli.processes.tempdirs import temporary_folder
from taskdemo_cli.reports.output import complain
from taskdemo_cli.runner.burst import words
from taskdemo_cli.runner.rig import Rig
from taskdemo_cli.runner.target import Target, again, check_worker, ready_target
from taskdemo_server.contract.settings import Settings

if TYPE_CHECKING:  # slow to import
    from taskdemo_cli.reports.terminal.live import ComparisonScreen


def compare(
    settings: Sequence[Settings],
    skipped: list[Skipped],
    plan: Plan,
    keeping: Keeping,
    rounds: int,
    cold: bool = False,
    needs: Sequence[str] = (),
) -> int:
    """Fire the same burst at a private server of each mode, show what differs, and return the exit code."""
    check_os_limits(plan)
    stopping = StopRequest().listen()
    with temporary_folder() as folder, servers.ForkServer() as fork_server, Rig(stopping) as rig:
        started = [fork_server.launch(one, folder / one.mode) for one in settings]
        # Slow to import; the servers start meanwhile.
        from taskdemo_cli.reports.terminal.live import ComparisonScreen

        runs: list[RunDocument] = []
        failed: list[Skipped] = []

        def document() -> ComparisonDocument:
            every = [*skipped, *failed]
            return verdicts.comparison(runs, skipped=every, environment=environment(), command=command_line())

        with ComparisonScreen(
            keeping.output.console, _comparison_title(plan, settings), [one.mode for one in settings]
        ) as screen:
            for absent in skipped:
                screen.skip(absent.mode, absent.why)
            for run in _runs(rig, started, plan, screen, failed, rounds=rounds, cold=cold):
                runs.append(run)
                keeping.save_so_far(document)
        if runs:
            with keeping.output.waiting("measuring the client's own time"):
                runs = rig.doubted(plan, runs)
    if not runs:
        if stopping.asked:
            complain("interrupted before a mode was measured")
        stopping.check()
        raise UserError(_why_none(failed))
    begun = {run.mode for run in runs} | {one.mode for one in failed}
    failed += [Skipped(mode=one.mode, why="interrupted before it began") for one in settings if one.mode not in begun]
    advice = recommendation.recommend(runs, needs)
    result = replace(document(), recommendations=advice.each, recommendation=advice.one)
    return keeping.finish(result, stopping, failed=any(map(has_failed, runs)))


def _runs(
    rig: Rig,
    started: Sequence[servers.Server],
    plan: Plan,
    screen: "ComparisonScreen",
    failed: list[Skipped],
    *,
    rounds: int,
    cold: bool,
) -> Iterator[RunDocument]:
    """Fire the same plan at each of the `started` servers, one after another, and yield every run.

    All of them serve before the first measurement, so no server's imports disturb another's run. With several `rounds`,
    each reverses the order of the one before, so a machine that warms up or slows down favours no mode. Each server is
    warmed up before it is measured, unless `cold`. A server that fails before that is added to `failed`.
    """
    targets: list[Target] = []
    for server in started:
        try:
            target = ready_target(server, "/", rig.stopping.check)
            check_worker(target)
            targets.append(target)
        except UserError as error:
            failed.append(Skipped(mode=server.settings.mode, why=str(error)))
    if targets or len({one.why for one in failed}) > 1:  # otherwise that one reason is the command's error
        for one in failed:
            screen.skip(one.mode, one.why)
    for number in range(1, rounds + 1):
        others_share = rig.others_share()
        for served in targets[:] if number % 2 else targets[::-1]:
            stage = f"round {number} of {rounds}" if rounds > 1 else ""
            screen.start(str(served.health.mode), stage)
            target, warm_up = served if number == 1 else again(served), 0
            if not cold:
                try:
                    target, warm_up = rig.warmed_up(target, plan)
                except UserError as error:
                    targets.remove(served)
                    failed.append(Skipped(mode=str(served.health.mode), why=str(error)))
                    screen.skip(str(served.health.mode), str(error))
                    continue
            run = rig.measure(target, plan, screen.update, round=number, warm_up=warm_up, others_share=others_share)
            screen.done(run)
            yield run
            if rig.stopping.asked:
                return


def _why_none(failed: Sequence[Skipped]) -> str:
    whys = {one.why for one in failed}
    if len(whys) == 1:  # for example, the work itself cannot be used
        return whys.pop()
    return "no mode could be run: " + "; ".join(f"{one.mode}: {one.why}" for one in failed)


def _comparison_title(plan: Plan, settings: Sequence[Settings]) -> str:
    one = settings[0]
    return f"{words(plan)} in each mode, work: {describe_work(one.work, one.known_duration)}"
