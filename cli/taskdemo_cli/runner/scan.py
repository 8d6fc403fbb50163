"""Conducts a scan: a burst at one endpoint of the user's own application after another. Knows no screen's insides."""

import contextlib
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Self

from taskdemo_cli.analysis import scan as scanned
from taskdemo_cli.analysis.blocking.judge import judge
from taskdemo_cli.analysis.routes import Route
from taskdemo_cli.analysis.routes import routes_of as read_routes
from taskdemo_cli.documents.run import RunDocument
from taskdemo_cli.documents.scan import EndpointRow
from taskdemo_cli.errors import UserError
from taskdemo_cli.loadgen.protocol import Plan
from taskdemo_cli.processes import servers
from taskdemo_cli.runner.rig import Rig, Screen
from taskdemo_cli.runner.target import TICK_S, Target, again

if TYPE_CHECKING:  # it takes its time to load
    from taskdemo_cli.reports.terminal.scan import PlainScan, ScanScreen

DRAIN_S = 3.0
"""How long a server may be busy after a burst; one that is so for longer is ended, and another one started."""
DOCUMENT_S, DOCUMENT_BYTES = 30.0, 64 * 2**20
"""What a large application takes at the most to describe itself."""
PROMPT_S = 0.5
"""Within which a server that is quiet answers a bystander."""
TASKS_BYTES = 16 * 2**20
"""More than a list of tasks ever has."""


def routes_of(target: Target, headers: Collection[str]) -> list[Route]:
    """Return what the user's own application tells of its endpoints; `headers` are the names of those that are sent.

    Raises UserError where it tells nothing.
    """
    documents = servers.get_json(target.url, f"{target.under}/openapi", timeout=DOCUMENT_S, most=DOCUMENT_BYTES)
    routes = [route for one in documents or () for route in read_routes(one["document"], one["under"], headers)]
    why = next((one["error"] for one in documents or () if one["error"]), "it has no OpenAPI document")
    if not routes:
        raise UserError(
            f"the endpoints of {target.app} are not known: {why}; ask one of them: "
            f"taskdemo fire --app {target.app} --path /"
        )
    return routes


class OwnServer:
    """The server of the user's own application, started again where an endpoint has left it hanging or dead."""

    def __init__(self, start: Callable[[], contextlib.AbstractContextManager[Target]]) -> None:
        self._start = start
        self._running = contextlib.ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._running.close()

    def restart(self) -> None:
        """End the server, and start another one. Raises UserError where that does not serve."""
        self._running.close()
        self.target = self._running.enter_context(self._start())


def scan(
    rig: Rig,
    server: OwnServer,
    routes: Sequence[Route],
    count: int,
    plan: Callable[[Target, Route, int], Plan],
    screen: "ScanScreen | PlainScan",
) -> list[EndpointRow]:
    """Judge each endpoint by a burst of its own, and return what was found, in the order of `routes`.

    `plan` makes the plan of so many requests at once, of which `count` are the most. The next burst begins when the
    server is quiet again.
    """
    endpoints: list[EndpointRow] = []
    why: str | None = None
    """Why no further endpoint is called."""
    quiet = True
    for route in routes:
        why = why or ("the scan was stopped before" if rig.stopping.asked else None)
        endpoint = scanned.skipped(route, route.skipped or why or "")
        if not endpoint.skipped:
            screen.start(route)
            try:
                if not quiet:
                    server.restart()
                    server.target.settle(rig.stopping)
                endpoint = _scan_endpoint(rig, server.target, route, count, plan, screen)
                quiet = _is_quiet(server.target)
            except (UserError, OSError) as error:
                why = f"the server could not be used any more: {error}"
                endpoint = scanned.skipped(route, why)
        endpoints.append(endpoint)
        screen.done(endpoint)
    return endpoints


def _scan_endpoint(
    rig: Rig,
    target: Target,
    route: Route,
    count: int,
    plan: Callable[[Target, Route, int], Plan],
    screen: Screen,
) -> EndpointRow:
    """Call an endpoint alone, then as many times at once as it takes well, and judge the last of these bursts."""
    runs: list[RunDocument] = []
    size: int | None = 1
    while size is not None:
        target = again(replace(target, path=route.target))
        mark = target.mark()
        runs.append(
            rig.measure(
                target, plan(target, route, size), screen, {"method": "GET", "count": size, "concurrency": size}
            )
        )
        size = None if rig.stopping.asked else scanned.next_burst(runs, count)
    found = judge(runs[-1], target.found(mark, rig.stopping))
    return scanned.judged(route, runs[-1], found)


def _is_quiet(target: Target) -> bool:
    """Wait until the server is at nobody's service any more, for DRAIN_S at the most, and tell whether it is."""
    deadline = time.monotonic() + DRAIN_S
    while True:
        try:
            for path in (target.bystander_path, target.threads_path):
                servers.get_json(target.url, str(path), timeout=PROMPT_S)
            tasks = servers.get_json(target.url, f"{target.under}/tasks?limit=10000", most=TASKS_BYTES) or ()
            if not any(task["ended_at"] is None for task in tasks):
                return True
        except servers.SilentError:
            pass
        except OSError:
            return False
        if time.monotonic() >= deadline:
            return False
        time.sleep(TICK_S)
