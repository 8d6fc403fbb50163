"""`scan`: a short burst at every endpoint of the user's own application, and which of them hold up everybody."""

import contextlib
import shlex
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Any

from msgspec import structs

from taskdemo_cli.analysis import scan as scanned
from taskdemo_cli.analysis.blocking.evidence import longest_queue
from taskdemo_cli.analysis.blocking.judge import judge
from taskdemo_cli.analysis.mode_summary import HELD_UP_S
from taskdemo_cli.analysis.routes import Route
from taskdemo_cli.analysis.routes import routes_of as read_routes
from taskdemo_cli.commands.keeping import Keeping
from taskdemo_cli.documents.blocking import Blocking
from taskdemo_cli.documents.environment import provenance
from taskdemo_cli.documents.run import RunDocument
from taskdemo_cli.documents.scan import EndpointRow, ScanDocument
from taskdemo_cli.errors import UserError
from taskdemo_cli.loadgen.os_limits import check_os_limits
from taskdemo_cli.loadgen.protocol import Plan
from taskdemo_cli.processes import servers
from taskdemo_cli.processes.signals import StopRequest
from taskdemo_cli.reports.terminal.scan import ScanScreen
from taskdemo_cli.runner.burst import burst
from taskdemo_cli.runner.rig import Rig, Show
from taskdemo_cli.runner.target import TICK_S, Target, again, private_target
from taskdemo_cli.units import format_count, format_list
from taskdemo_server.contract.settings import Settings
from taskdemo_server.contract.sightings import Answered

DRAIN_TIMEOUT_S = 3.0
"""How long a server may be busy after a burst; one that is busy for longer is replaced."""
DOCUMENT_S, DOCUMENT_BYTES = 60.0, 64 * 2**20
"""The most time and size that the OpenAPI documents of a large application take."""
PROMPT_S = 0.5
"""A quiet server answers a bystander within this time."""
TASKS_BYTES = 16 * 2**20
"""More than a list of tasks ever takes."""


def scan(
    settings: Settings, keeping: Keeping, request: Plan, *, count: int, timeout_s: float, fail_if_blocking: bool
) -> int:
    """Judge every endpoint that can be called without guessing, show what was found, and return the exit code."""
    plan = burst(count=count, timeout_s=timeout_s, request=request)
    check_os_limits(plan)
    stopping = StopRequest().listen()
    begun = provenance()
    with Rig(stopping, threads=True) as rig, contextlib.ExitStack() as running:

        def restart() -> Target:
            running.close()
            return running.enter_context(private_target(settings, "/", stopping))

        with keeping.output.waiting(f"starting {settings.app}"):
            target = restart()
        routes = _routes_of(target, {name.lower() for name, _ in request.headers})
        with keeping.output.waiting("watching the idle application"):
            target.settle(stopping)
        app = target.health.app or ""
        called = sum(route.skipped is None for route in routes)
        title = f"{app}: {format_count(called, 'endpoint')}, up to {count} requests at once to each"
        with ScanScreen(keeping.output.console, title, routes) as screen:
            endpoints, broken = _scan_endpoints(rig, target, restart, routes, plan, screen)
    document = ScanDocument(
        app=app,
        count=count,
        endpoints=endpoints,
        verdict=scanned.verdict(endpoints, broken),
        interrupted=stopping.asked,
        **begun,
    )
    outcomes = set(map(scanned.outcome, endpoints))
    none_reached = outcomes <= {"not reached", "skipped"}
    return keeping.finish(
        document,
        stopping,
        failed=bool(broken) or none_reached or any(map(scanned.has_failed, endpoints)),
        met=fail_if_blocking and "blocks" in outcomes,
    )


def _routes_of(target: Target, headers: Collection[str]) -> list[Route]:
    """Return the routes that the user's own application reports; `headers` are the names of those that are sent.

    Raises UserError if no OpenAPI document has any.
    """
    documents: Any = ()
    why = "it has no OpenAPI document"
    try:
        openapi = f"{target.prefix}/openapi"
        documents = servers.get_json(target.url, openapi, timeout=DOCUMENT_S, most=DOCUMENT_BYTES) or ()
    except OSError as error:
        why = f"its OpenAPI documents are not there ({error})"
    routes = [route for one in documents for route in read_routes(one["document"], one["under"], headers)]
    others = {"undocumented": "in no OpenAPI document", "websockets": "a WebSocket, not reachable with an HTTP request"}
    uncalled = [
        Route("GET", path, skipped=why) for kind, why in others.items() for one in documents for path in one[kind]
    ]
    if not routes:
        found = [path for one in documents for path in one["undocumented"]]
        what = f"the endpoints of {target.health.app} are unknown"
        if failed := next((one["error"] for one in documents if one["error"]), None):
            why = failed
        elif found:
            more = [f"{len(found) - scanned.NAMED} more"] if len(found) > scanned.NAMED else []
            what = f"{target.health.app} has no endpoint to scan"
            why = f"no OpenAPI document has {format_list([*found[: scanned.NAMED], *more])}"
        elif documents:
            why = "its OpenAPI document has none"
        command = ["taskdemo", "fire", "--app", target.health.app or "", "--path", next(iter(found), "/")]
        raise UserError(f"{what}: {why}; test one directly: {shlex.join(command)}")
    return routes + uncalled


def _scan_endpoints(
    rig: Rig,
    target: Target,
    restart: Callable[[], Target],
    routes: Sequence[Route],
    plan: Plan,
    screen: ScanScreen,
) -> tuple[list[EndpointRow], str | None]:
    """Judge each endpoint by a burst of its own, and return their rows, in the order of `routes`.

    The next burst begins when the server is quiet again; a server that stays busy or has died is restarted. If that
    fails, no further endpoint is called, and the reason is returned, too.
    """
    endpoints: list[EndpointRow] = []
    broken: str | None = None
    quiet = True
    for route in routes:
        why = broken or ("the scan was stopped first" if rig.stopping.asked else "")
        endpoint = EndpointRow(method=route.method, path=route.path, skipped=route.skipped or why)
        if not endpoint.skipped:
            screen.start(route)
            try:
                if not quiet:
                    target = restart()
                    target.settle(rig.stopping)
                endpoint = _scan_endpoint(rig, target, route, plan, screen.update)
                quiet = _is_quiet(target)
            except (UserError, OSError) as error:
                broken = f"the server became unusable: {error}"
                endpoint = EndpointRow(method=route.method, path=route.path, skipped=broken)
        endpoints.append(endpoint)
        screen.done(endpoint)
    return endpoints, broken


def _scan_endpoint(rig: Rig, target: Target, route: Route, plan: Plan, show: Show) -> EndpointRow:
    """Call an endpoint once, then in bursts as large as it answers in good time, and judge the last of these.

    If that one leaves it unclear whether the endpoint blocks, or says so of a machine that was busy, repeat it once at
    the same size.
    """
    most, headers = plan.count or 1, [*plan.headers, *route.headers]
    runs: list[RunDocument] = []
    answers: list[Answered] = []  # the server reports each kind only once, in whichever burst
    first: Blocking | None = None
    size, is_again = 1, False
    while True:
        target = again(replace(target, path=route.target))
        run = rig.measure(target, structs.replace(plan, count=size, concurrency=size, headers=headers), show)
        runs.append(run)
        larger = None if rig.stopping.asked else scanned.next_burst(runs, most)
        is_slow = first is None and scanned.took(run) >= HELD_UP_S
        seen = target.read_sightings(rig.stopping, wait=is_slow or larger is None)
        answers += seen.answers
        burst_ids = {task.id for task in run.tasks}
        left = [one for one in seen.left if one.request in burst_ids]  # others outlived the requests of earlier bursts
        found = judge(run, structs.replace(seen, answers=answers, left=left))
        first = first or found
        is_doubtful = found.cause == "not found" or (found.blocks and longest_queue(seen) >= HELD_UP_S / 2)
        is_over = is_again or rig.stopping.asked or run.ended_because or run.timed_out or not is_doubtful
        if larger is None and is_over:
            return scanned.judged(route, run, found, first)
        size, is_again = larger or size, larger is None


def _is_quiet(target: Target) -> bool:
    """Wait until the server is idle, for DRAIN_TIMEOUT_S at most, and return whether it is."""
    deadline = time.monotonic() + DRAIN_TIMEOUT_S
    while True:
        try:
            for path in (target.bystander_path, target.threads_path):
                servers.get_json(target.url, str(path), timeout=PROMPT_S)
            tasks = servers.get_json(target.url, f"{target.prefix}/tasks?limit=10000", most=TASKS_BYTES) or ()
            if not any(task["ended_at"] is None for task in tasks):
                return True
        except servers.SilentError:
            pass
        except OSError:
            return False
        if time.monotonic() >= deadline:
            return False
        time.sleep(TICK_S)
