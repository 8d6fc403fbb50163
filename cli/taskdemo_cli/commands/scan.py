"""`scan`: a short burst at every endpoint of the user's own application, and which of them hold up everybody."""

import functools
from datetime import UTC, datetime

from taskdemo_cli.analysis import scan as scanned
from taskdemo_cli.analysis.routes import Route
from taskdemo_cli.commands.keeping import Keeping, exit_code
from taskdemo_cli.documents.environment import command_line, environment
from taskdemo_cli.documents.scan import ScanDocument
from taskdemo_cli.errors import THRESHOLD_MET
from taskdemo_cli.loadgen.capacity import check_capacity
from taskdemo_cli.loadgen.protocol import Plan
from taskdemo_cli.loadgen.request import Headers, Request
from taskdemo_cli.processes.signals import StopRequest
from taskdemo_cli.reports.output import Output
from taskdemo_cli.runner import scan as conduct
from taskdemo_cli.runner.burst import at, burst
from taskdemo_cli.runner.rig import Rig
from taskdemo_cli.runner.target import Target, private_target
from taskdemo_cli.units import format_count
from taskdemo_server.contract.settings import Settings


def scan(
    settings: Settings, keeping: Keeping, *, count: int, headers: Headers, timeout_s: float, fail_if_blocking: bool
) -> int:
    """Judge every endpoint that can be called without guessing, show what was found, and return the exit code."""
    from taskdemo_cli.reports.terminal.scan import scan_screen

    check_capacity(burst(count=count))
    output = Output(keeping.as_json)
    stopping = StopRequest().listen()
    started_at = datetime.now(UTC)

    def plan(target: Target, route: Route, size: int) -> Plan:
        request = Request("GET", (*headers, *route.headers))
        return at(burst(count=size, timeout_s=timeout_s, request=request), target)

    server = conduct.OwnServer(functools.partial(private_target, settings, "/", stopping))
    with Rig(stopping, threads=True) as rig:
        with output.waiting(f"starting {settings.app}"):
            server.restart()
        with server:
            routes = conduct.routes_of(server.target, {name.lower() for name, _ in headers})
            with output.waiting("listening to the application while nobody asks it"):
                server.target.settle(stopping)
            app = server.target.app or ""
            called = sum(route.skipped is None for route in routes)
            title = f"{app}: {format_count(called, 'endpoint')}, up to {count} requests at once to each"
            with scan_screen(output.console, title, routes) as screen:
                endpoints = conduct.scan(rig, server, routes, count, plan, screen)
    document = ScanDocument(
        app=app,
        count=count,
        endpoints=endpoints,
        verdict=scanned.verdict(endpoints),
        interrupted=stopping.asked,
        started_at=started_at.isoformat(timespec="milliseconds"),
        environment=environment(),
        command=command_line(),
    )
    keeping.show(document, output)
    if fail_if_blocking and not stopping.asked and "blocks" in map(scanned.outcome, endpoints):
        return THRESHOLD_MET
    return exit_code(stopping, (), failed=any(map(scanned.has_failed, endpoints)))
