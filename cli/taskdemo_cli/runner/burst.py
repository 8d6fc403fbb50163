"""What is sent: the plan that the options of a burst make, at a target, in a document, and in words."""

from typing import Any

from msgspec.structs import replace

from taskdemo_cli.documents.environment import command_line, environment
from taskdemo_cli.documents.run import RunHeader
from taskdemo_cli.errors import UserError
from taskdemo_cli.loadgen.protocol import Plan
from taskdemo_cli.loadgen.request import GET
from taskdemo_cli.processes import servers
from taskdemo_cli.runner.target import Target
from taskdemo_cli.units import format_count

CONCURRENCY = 50
"""Requests in flight where --for bounds the run and nobody says how many."""


def burst(
    *,
    count: int | None = None,
    for_s: float | None = None,
    concurrency: int | None = None,
    rate: float | None = None,
    request: Plan = GET,
    **more: Any,
) -> Plan:
    """Return the plan, at no place yet, of a closed loop or one with a `rate`, for `count` requests (one) or `for_s`.

    `more` are other fields of a plan. Raises UserError where two of them contradict each other.
    """
    if count is not None and for_s is not None:
        raise UserError("--count and --for both bound the run: give one of them")
    if concurrency is not None and rate is not None:
        raise UserError("--concurrency waits for answers and --rate does not: give one of them")
    count = None if for_s is not None else count or 1
    return replace(
        request,
        count=count,
        for_s=for_s,
        concurrency=None if rate is not None else concurrency or count or CONCURRENCY,
        rate=rate,
        **more,
    )


def at(plan: Plan, target: Target) -> Plan:
    """Return the plan of the same burst at this target."""
    headers = [*plan.headers, *servers.authorization(target.token).items()]
    return replace(plan, url=target.url + target.path, headers=headers)


def facts(plan: Plan) -> RunHeader:
    """Return what a run's document says of this."""
    return {
        "count": plan.count,
        "for_s": plan.for_s,
        "concurrency": plan.concurrency,
        "rate": plan.rate,
        "message": plan.message,
        "method": plan.method,
        "command": command_line(),
        "environment": environment(),
    }


def words(plan: Plan) -> str:
    """Return what is sent, as a title says it."""
    what = "request" if plan.method == "GET" else f"{plan.method} request"
    much = format_count(plan.count, what) if plan.count else f"{plan.for_s:g} s of {what}s"
    if plan.rate is not None:
        return f"{much}, {format_count(plan.rate)} a second"
    if plan.count == 1:
        return much
    at_once = "all at once" if plan.concurrency == plan.count else f"{format_count(plan.concurrency or 1)} at a time"
    return f"{much}, {at_once}"
