"""What is sent: the options of a burst, checked, and the plan that they make."""

from dataclasses import dataclass

from taskdemo_cli.documents.environment import command_line, environment
from taskdemo_cli.documents.run import RunHeader
from taskdemo_cli.errors import UserError
from taskdemo_cli.loadgen.capacity import capacity_problem
from taskdemo_cli.loadgen.protocol import Plan
from taskdemo_cli.loadgen.request import GET, Request
from taskdemo_cli.processes import servers
from taskdemo_cli.runner.target import Target

CONCURRENCY = 50
"""Requests in flight where --for bounds the run and nobody says how many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Burst:
    """What to send: a closed loop of `concurrency` or an open one of `rate`, for `count` requests or `for_s`."""

    count: int | None = None
    for_s: float | None = None
    concurrency: int | None = None
    rate: float | None = None
    message: str | None = None
    timeout_s: float | None = None
    request_timeout_s: float | None = None
    request: Request = GET

    def __post_init__(self) -> None:
        if self.count is not None and self.for_s is not None:
            raise UserError("--count and --for both bound the run: give one of them")
        if self.concurrency is not None and self.rate is not None:
            raise UserError("--concurrency waits for answers and --rate does not: give one of them")

    @property
    def planned(self) -> int | None:
        """Requests to send; None where the clock decides."""
        return None if self.for_s is not None else self.count or 1

    @property
    def in_flight(self) -> int | None:
        """Requests in flight at the most; None in an open loop."""
        if self.rate is not None:
            return None
        return self.concurrency or self.planned or CONCURRENCY

    def check_capacity(self) -> None:
        """Raise UserError where this machine cannot hold so many connections; raise the limit as far as it may be."""
        problem = capacity_problem(
            Plan(url="", count=self.planned, for_s=self.for_s, concurrency=self.in_flight, rate=self.rate)
        )
        if problem is not None:
            raise UserError(problem)

    def plan(self, target: Target) -> Plan:
        """Return what the load process is to do at this target."""
        return Plan(
            url=target.url + target.path,
            method=self.request.method,
            body=None if self.request.body is None else self.request.body.decode("latin-1"),
            numbered=self.request.numbered,
            message=self.message,
            count=self.planned,
            for_s=self.for_s,
            concurrency=self.in_flight,
            rate=self.rate,
            timeout_s=self.timeout_s,
            request_timeout_s=self.request_timeout_s,
            headers=[*self.request.headers, *servers.authorization(target.token).items()],
        )

    def facts(self) -> RunHeader:
        """Return what a run's document says of this."""
        return {
            "count": self.planned,
            "for_s": self.for_s,
            "concurrency": self.in_flight,
            "rate": self.rate,
            "message": self.message,
            "method": self.request.method,
            "command": command_line(),
            "environment": environment(),
        }


def words(burst: Burst) -> str:
    """Return what is sent, as a title says it."""
    what = "request" if burst.request.method == "GET" else f"{burst.request.method} request"
    much = (
        f"{burst.planned} {what}{'s' if burst.planned != 1 else ''}"
        if burst.planned
        else f"{burst.for_s:g} s of {what}s"
    )
    if burst.rate is not None:
        return f"{much}, {burst.rate:g} a second"
    if burst.planned == 1:
        return much
    return f"{much}, all at once" if burst.in_flight == burst.planned else f"{much}, {burst.in_flight} at a time"
