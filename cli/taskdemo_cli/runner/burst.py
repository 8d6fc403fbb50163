"""A burst's plan: from its options, at a target, in a document, and in words."""

from typing import Any

from msgspec.structs import replace

from taskdemo_cli.documents.run import RunHeader
from taskdemo_cli.errors import UserError
from taskdemo_cli.loadgen.protocol import Plan
from taskdemo_cli.loadgen.request import GET
from taskdemo_cli.processes import servers
from taskdemo_cli.runner.target import Target
from taskdemo_cli.units import format_count

CONCURRENCY = 50
"""The default number of requests in flight with --for."""


def burst(
    *,
    count: int | None = None,
    for_s: float | None = None,
    concurrency: int | None = None,
    rate: float | None = None,
    request: Plan = GET,
    **more: Any,
) -> Plan:
    """Return a plan without a URL: an open loop with `rate`, otherwise a closed loop; `count` requests or `for_s`.

    The default is one request; `more` are other fields of a plan. Raises UserError if two options conflict.
    """
    if count is not None and for_s is not None:
        raise UserError("--count and --for both limit the run: give one of them")
    if concurrency is not None and rate is not None:
        raise UserError("--concurrency waits for answers, --rate does not: give one of them")
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
    """Return the plan with this target's URL and authorization."""
    headers = [*plan.headers, *servers.authorization(target.token).items()]
    return replace(plan, url=target.url + target.path, headers=headers)


def facts(plan: Plan) -> RunHeader:
    """Return the fields of a run's document that describe the plan."""
    return {
        "count": plan.count,
        "for_s": plan.for_s,
        "concurrency": plan.concurrency,
        "rate": plan.rate,
        "message": plan.message,
        "method": plan.method,
    }


def words(plan: Plan) -> str:
    """Describe the burst for a title."""
    what = "request" if plan.method == "GET" else f"{plan.method} request"
    much = format_count(plan.count, what) if plan.count else f"{plan.for_s:g} s of {what}s"
    if plan.rate is not None:
        return f"{much}, {format_count(plan.rate)} a second"
    if plan.count == 1:
        return much
    at_once = "all at once" if plan.concurrency == plan.count else f"{format_count(plan.concurrency or 1)} at a time"
    return f"{much}, {at_once}"
