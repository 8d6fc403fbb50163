"""Whether an endpoint of the user's own holds up others, by what two bystanders waited beside it; and a guess at why.

Pure: no I/O and no clock. One bystander is served by the event loop, the other one by AnyIO's worker threads.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from taskdemo_cli.documents import Blocking, BystanderRow, RunDocument
from taskdemo_cli.units import format_seconds
from taskdemo_cli.verdicts import HELD_UP_S
from taskdemo_server.visible import shortened

PLACES = 5
MOST_OF_IT = 0.5
UNSEEN = 3
"""Without the server's own evidence a bystander must have waited so many times longer, or the machine was just busy."""


def judge(run: RunDocument, found: Mapping[str, Any]) -> Blocking:
    """Return what the bystanders of this run say of its endpoint.

    `found` is what the server saw of its event loop's thread while that was late, as `holding.Holding.found()` has it.
    """
    loop, threads = longest_wait(run["bystander"]), longest_wait(run.get("bystander_threads", ()))
    places = {str(place): int(count) for place, count in dict(found.get("places") or {}).items()}
    starved = int(found.get("starved") or 0)
    seen = sum(places.values())
    cause: Any = "neither"
    # A server that has not seen its loop late may yet have been held, by code that keeps the interpreter for itself.
    if loop is not None and loop >= (HELD_UP_S if seen + starved else UNSEEN * HELD_UP_S):
        cause = "interpreter busy" if starved > seen else "event loop held"
    elif threads is not None and threads >= HELD_UP_S:
        cause = "threads used up"
    return {
        "blocks": cause != "neither",
        "cause": cause,
        "loop_wait_s": loop,
        "threads_wait_s": threads,
        "places": [
            {"place": place, "share": count / (seen + starved)}
            for place, count in sorted(places.items(), key=lambda entry: -entry[1])[:PLACES]
        ],
    }


def longest_wait(calls: Iterable[BystanderRow]) -> float | None:
    """Return the longest that a bystander waited, answered or not; None where none called."""
    waits = [
        call["done_s"] - call["sent_s"] for call in calls if call["sent_s"] is not None and call["done_s"] is not None
    ]
    return max(waits, default=None)


def sentence(blocking: Blocking) -> str:
    """Say whether the endpoint blocks the server, by how much, and why as far as one can guess."""
    loop, threads = blocking["loop_wait_s"], blocking["threads_wait_s"]
    if loop is None:
        return "Whether this endpoint blocks the server was not measured: no bystander was answered beside it."
    if blocking["cause"] == "event loop held":
        return (
            f"This endpoint blocks the server: it holds the event loop{_where(blocking)}, so everybody waits, "
            f"a bystander up to {format_seconds(loop)}."
        )
    if blocking["cause"] == "interpreter busy":
        return (
            f"This endpoint slows the whole server: it computes in threads, which take the interpreter from the event "
            f"loop, so a bystander waited up to {format_seconds(loop)}."
        )
    if blocking["cause"] == "threads used up":
        return (
            f"This endpoint uses up the worker threads: beside it a plain `def` endpoint waited up to "
            f"{format_seconds(threads or 0.0)}, an `async def` one {format_seconds(loop)} at most."
        )
    beside = "" if threads is None else f", one in a worker thread {format_seconds(threads)}"
    return (
        f"This endpoint does not block the server: a bystander on the event loop waited {format_seconds(loop)} "
        f"at most{beside}."
    )


def _where(blocking: Blocking) -> str:
    places = blocking["places"]
    if not places:
        return ""
    often = "" if places[0]["share"] >= MOST_OF_IT else "among others "
    return f" ({often}at {shortened(places[0]['place'], 80)})"
