"""`fire`: choose the target, send a burst, show what was measured, save it, and return the exit code."""

import contextlib

from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from taskdemo_cli.analysis import verdicts
from taskdemo_cli.analysis.blocking.judge import judge
from taskdemo_cli.analysis.blocking.sentence import sentence
from taskdemo_cli.commands.keeping import Keeping, has_failed
from taskdemo_cli.documents.blocking import Blocking
from taskdemo_cli.loadgen.os_limits import check_os_limits
from taskdemo_cli.loadgen.protocol import Plan
from taskdemo_cli.loadgen.request_options import ParsedUrl
from taskdemo_cli.processes.signals import StopRequest
from taskdemo_cli.reports.terminal.live import RunScreen
from taskdemo_cli.runner.burst import Known, at, words
from taskdemo_cli.runner.rig import Rig
from taskdemo_cli.runner.target import Target, check_worker, private_target, running_target
from taskdemo_server.contract.settings import Settings


def fire(
    plan: Plan,
    keeping: Keeping,
    *,
    parsed: ParsedUrl,
    named: bool,
    private: Settings | None,
    token: str | None,
    wait: bool,
    cold: bool,
) -> int:
    """Fire a burst at a path of a private or a running server, and return the exit code.

    `named`: the user gave a URL, not just a port of this machine.
    """
    check_os_limits(plan)
    with contextlib.ExitStack() as stack:
        if private is None:
            target = running_target(parsed, token, named=named)  # before `listen`: a signal ends this wait at once
            stopping = StopRequest().listen()
            rig = stack.enter_context(Rig(stopping))
        else:
            stopping = StopRequest().listen()
            rig = stack.enter_context(Rig(stopping, threads=private.app is not None))
            with keeping.output.waiting(f"starting {private.app or f'the {private.mode} server'}"):
                target = stack.enter_context(private_target(private, parsed.path, stopping))
        if wait:
            check_worker(target)
        known: Known = {}
        if private is not None and private.app is None and not cold:
            with keeping.output.waiting("warming the server up"):
                target, known["warm_up"] = rig.warmed_up(target, plan, wait=wait)
        if target.health.app is None:  # else the server itself reports how long its threads waited for a processor
            known["others_share"] = rig.others_share()
        else:
            with keeping.output.waiting("watching the idle application"):
                target.settle(stopping)
        with RunScreen(keeping.output.console, _title(plan, target), plan.for_s) as screen:
            run = rig.measure(target, plan, screen.update, wait=wait, **known)
        found: Blocking | UnsetType = UNSET
        if target.health.app is not None:
            with keeping.output.waiting("watching what it does after the last answer"):
                found = judge(run, target.read_sightings(stopping, wait=wait))
        with keeping.output.waiting("measuring the client's own time"):
            (run,) = rig.doubted(at(plan, target), [run])
    run = replace(run, blocking=found, verdict=verdicts.verdict(run, sentence(found) if found else ""))
    return keeping.finish(run, stopping, failed=has_failed(run))


def _title(plan: Plan, target: Target) -> str:
    what = target.health.mode or target.health.app
    name = f"{what} at {target.url}" if what else target.url
    through = "" if target.proxy is None else f", through the proxy {target.proxy} of the environment"
    return f"{words(plan)} to {name}{target.path if target.path != '/' else ''}{through}"
