"""A burst's plan: from its options, at a target, in a document, and in words."""

from typing import Any, TypedDict, Unpack

from msgspec import UNSET
from msgspec.structs import replace

from taskdemo_cli.documents.environment import provenance
from taskdemo_cli.documents.run import RunDocument
from taskdemo_cli.errors import UserError
from taskdemo_cli.loadgen.protocol import Plan
from taskdemo_cli.loadgen.request_options import GET
from taskdemo_cli.processes import servers
from taskdemo_cli.recording.summary import EMPTY
from taskdemo_cli.runner.target import Target
from taskdemo_cli.units import format_count
from taskdemo_server.contract.settings import BUILT_IN_WORKS

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
    if count is not None:
        concurrency = min(concurrency or count, count)
    return replace(
        request,
        count=count,
        for_s=for_s,
        concurrency=None if rate is not None else concurrency or CONCURRENCY,
        rate=rate,
        **more,
    )


def at(plan: Plan, target: Target) -> Plan:
    """Return the plan with this target's URL and authorization."""
    headers = [*plan.headers, *servers.authorization(target.token).items()]
    return replace(plan, url=target.url + target.path, headers=headers)


class Known(TypedDict, total=False):
    """What only the caller knows of a run: fields of its document."""

    round: int
    warm_up: int
    others_share: float


def header(plan: Plan, target: Target, **known: Unpack[Known]) -> RunDocument:
    """Return the document of a run that begins now: all of it that is not recorded."""
    health = target.health
    work = None if health.app else health.work
    return RunDocument(
        mode=health.mode,
        url=target.url,
        path=target.path,
        method=plan.method,
        work=work,
        duration_s=health.duration_s if work in BUILT_IN_WORKS else None,
        count=plan.count,
        for_s=plan.for_s,
        concurrency=plan.concurrency,
        rate=plan.rate,
        message=plan.message,
        summary=EMPTY,
        app=health.app or UNSET,
        own_work=health.own_work or UNSET,
        slots=health.slots,
        proxy=target.proxy or UNSET,
        **provenance(),
        **known,
    )


def words(plan: Plan) -> str:
    """Describe the burst for a title."""
    what = "request" if plan.method == "GET" else f"{plan.method} request"
    much = format_count(plan.count, what) if plan.count else f"{plan.for_s:,.12g} s of {what}s"
    if plan.rate is not None:
        return f"{much}, {format_count(plan.rate)} a second"
    if plan.count == 1:
        return much
    at_once = "all at once" if plan.concurrency == plan.count else f"{format_count(plan.concurrency or 1)} at a time"
    return f"{much}, {at_once}"
