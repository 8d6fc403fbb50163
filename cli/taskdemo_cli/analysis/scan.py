"""What a scan says about the endpoints of the user's own application: which of them matter, and why. Pure."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, Literal, TypeGuard

from msgspec.structs import replace

from taskdemo_cli.analysis import verdicts
from taskdemo_cli.analysis.blocking.answers import ANY_KEY, ANY_LOGIN
from taskdemo_cli.analysis.blocking.sentence import brief, sentence, told_wait_s
from taskdemo_cli.analysis.mode_summary import HELD_UP_S
from taskdemo_cli.analysis.routes import Route
from taskdemo_cli.documents.blocking import Blocking
from taskdemo_cli.documents.run import RunDocument
from taskdemo_cli.documents.scan import EndpointRow
from taskdemo_cli.stats import grouped
from taskdemo_cli.units import format_count, format_seconds, format_were

Outcome = Literal["blocks", "look", "not reached", "quiet", "skipped"]
"""`look`: no blocking was seen, but something else needs a look."""
TOLD: Final[tuple[Outcome, ...]] = ("blocks", "look", "not reached")
"""The outcomes that need attention, the most serious first."""
VERDICTS: Final[dict[Outcome, Literal["yes", "no", "partly"]]] = {
    "blocks": "no",
    "look": "partly",
    "not reached": "partly",
    "quiet": "yes",
}
"""Whether all is well with an endpoint that was called, in the words of `limits`."""
BURST_S: Final = 1.5
"""How long a burst may take at an endpoint that answers one request at a time."""
ONE_AFTER_ANOTHER: Final = 1.5
"""Two requests at once that take this many times as long as one wait for each other."""
NAMED: Final = 5
"""The most endpoints that one sentence names."""


def next_burst(runs: Sequence[RunDocument], count: int) -> int | None:
    """Return how many requests to send at once next, at most `count`; None if the last burst says enough.

    `runs` are the bursts so far, the first of a single request. Two at once show whether the endpoint answers one
    request at a time: then a full burst would take long, and show no longer wait than a short one.
    """
    alone, last = runs[0], runs[-1]
    alone_s = took(alone)
    # A redirect or a refusal comes before the endpoint is called. A slow one may have loaded what later requests then
    # find, so only a fast one ends the bursts.
    refused = any(row.status is not None and 300 <= row.status < 500 for row in alone.requests)
    unanswered = not alone.requests or any(row.status is None for row in alone.requests)
    unanswered |= refused and alone_s < HELD_UP_S
    if unanswered or len(last.requests) >= count or len(runs) > 2 or last.ended_because or last.timed_out:
        return None
    if alone_s * count <= BURST_S:
        return count
    if last is alone:
        return 2
    size = count if took(last) < ONE_AFTER_ANOTHER * alone_s else int(BURST_S / alone_s)
    return min(size, count) if size > len(last.requests) else None


def took(run: RunDocument) -> float:
    """Return how long a burst kept the server busy, in seconds."""
    return max(run.summary.wall_s, run.summary.tasks.last_ended_s or 0.0)


def judged(route: Route, run: RunDocument, found: Blocking, first: Blocking | None = None) -> EndpointRow:
    """Return the row of an endpoint, from its burst, the verdict on that, and the one on its first request alone."""
    found = replace(found, type_instead=_instead(route, run, found.type_instead))
    text = verdicts.verdict(run, sentence(found))
    if run.timed_out:
        text += " The burst was ended by --timeout."
    elif run.ended_because:
        text += f" {run.ended_because[0].upper()}{run.ended_because[1:].rstrip('.')}."
    if first is None or found.blocks or not first.blocks:
        first = None
    else:
        where = f" ({at})" if (at := brief(first)) else ""
        held_s = max(first.longest_s or 0.0, first.loop_wait_s or 0.0)
        text += (
            f" But its first request held up everybody for {format_seconds(held_s)}{where}:"
            " do that at startup, in the lifespan."
        )
    return EndpointRow(
        method=route.method,
        path=route.path,
        target=route.target,
        summary=run.summary,
        blocking=found,
        first=first,
        text=text,
    )


def _instead(route: Route, run: RunDocument, option: str | None) -> str | None:
    """Return what to type if an endpoint was not reached: `scan` takes headers, and `fire` takes the rest."""
    if option in {ANY_KEY, ANY_LOGIN}:
        option = route.key or option
    if option is None or _is_header(option):
        return option
    by_hand = f"taskdemo fire --app {run.app}"
    if option.startswith("--"):
        return f"{by_hand} {option}"
    return f"{by_hand} --path {route.path}, with values that exist" if "{" in route.path else None


def outcome(endpoint: EndpointRow) -> Outcome:
    """Return the outcome of this endpoint."""
    found, summary = endpoint.blocking, endpoint.summary
    if found is None or summary is None:
        return "skipped"
    if found.blocks:
        return "blocks"
    if found.cause == "not reached":
        return "not reached"
    tasks = summary.tasks.failed or summary.tasks.unfinished
    troubled = summary.requests.failed or tasks or found.left or found.after_answer_error or found.never_ran
    return "look" if found.cause != "neither" or troubled or endpoint.first else "quiet"


def has_failed(endpoint: EndpointRow) -> bool:
    """Return whether requests failed, other than by a refusal (4xx), or background tasks that they added never ran.

    A stream that goes on has not failed.
    """
    if endpoint.summary is None or endpoint.blocking is None:
        return False
    errors = endpoint.summary.requests.errors
    failed = sum(count for kind, count in errors.items() if not kind.startswith("HTTP 4"))
    return failed > endpoint.blocking.endless or bool(endpoint.blocking.never_ran)


def waited(endpoint: EndpointRow) -> float | None:
    """Return the longest that others had to wait, in seconds, as bystanders or the server itself saw it."""
    return None if endpoint.blocking is None else told_wait_s(endpoint.blocking)


def by_outcome(endpoints: Iterable[EndpointRow]) -> defaultdict[Outcome, list[EndpointRow]]:
    """Return the endpoints of each outcome; of those that block, the ones that hold others up longest come first."""
    groups = grouped((outcome(endpoint), endpoint) for endpoint in endpoints)
    groups["blocks"].sort(key=lambda endpoint: -(waited(endpoint) or 0.0))
    return groups


def told(endpoints: Iterable[EndpointRow]) -> Iterator[tuple[Outcome, list[EndpointRow], str]]:
    """Yield the endpoints that need attention, the most serious first, and what is said of each.

    Those that were refused for the same reason share what is said: most endpoints of an application may want a login.
    """
    groups = by_outcome(endpoints)
    for kind in TOLD:
        refused = kind == "not reached"
        sharing = grouped(((_refusal(one) if refused else None) or one.text or "", one) for one in groups[kind])
        for text, alike in sharing.items():
            yield kind, alike, text if len(alike) > 1 else alike[0].text or ""


def _refusal(endpoint: EndpointRow) -> str | None:
    """Return why an endpoint was not reached, without its figures; None if it failed."""
    return None if endpoint.blocking is None or has_failed(endpoint) else sentence(endpoint.blocking)


def verdict(endpoints: Sequence[EndpointRow], broken: str | None = None) -> str:
    """Return which of all endpoints hold up everybody, in words. `broken`: why no more of them could be called."""
    groups = by_outcome(endpoints)
    blocking, unreached, skipped = groups["blocks"], groups["not reached"], groups["skipped"]
    reached = len(endpoints) - len(skipped) - len(unreached)
    if blocking:
        names = [f"{name_of_endpoint(one)} ({format_seconds(waited(one) or 0.0)})" for one in blocking[:NAMED]]
        names += [f"{len(blocking) - NAMED} more"] if len(blocking) > NAMED else []
        verb = "holds" if len(blocking) == 1 else "hold"
        text = f"{len(blocking)} of {format_count(reached, 'endpoint')} {verb} up everybody: {', '.join(names)}."
    elif reached:
        text = f"No endpoint was seen to hold up everybody ({reached:,} tested)."
    else:
        text = "" if unreached else "No endpoint was called."
    if unreached:
        ended = any(one.blocking is not None and not one.blocking.answers for one in unreached)
        why = "the answers were redirects, refusals or errors" + (", or the server ended" if ended else "")
        text += f" {format_were(len(unreached))} not reached" if reached else "No endpoint was reached"
        text += f", because {why}{'' if reached else ', so blocking was not measured'}."
        options = {one.blocking.type_instead for one in unreached if one.blocking is not None}
        text += f" Type {', '.join(found)}." if (found := sorted(filter(_is_header, options))) else ""
    if skipped:
        text += f" {format_were(len(skipped))} not called."
    if len(skipped) == len(endpoints) and broken is None:
        text += " Test one: taskdemo fire --app APP --path PATH, with --method, --body or --form as it needs."
    return text if broken is None else f"The scan broke off: {broken}. {text}"


def _is_header(option: str | None) -> TypeGuard[str]:
    """Return whether this option is a header, which `scan` can send with every request."""
    return option is not None and option.startswith("-H")


def name_of_endpoint(endpoint: EndpointRow | Route) -> str:
    """Return an endpoint's method and path."""
    return f"{endpoint.method} {endpoint.path}"
