"""Whether an endpoint of the user's own holds up others, by what two bystanders waited beside it; and why, where seen.

Pure: no I/O and no clock. One bystander is served by the event loop, the other one by AnyIO's worker threads.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from taskdemo_cli.analysis.mode_summary import CLOSE, HELD_UP_S
from taskdemo_cli.documents.types import Blocking, BystanderRow, Place, RunDocument
from taskdemo_cli.units import format_seconds
from taskdemo_server.contract.text import shortened

PLACES = 5
MOST_OF_IT = 0.5
SEEN = 3
"""A cause that the server saw at fewer moments (they are 20 ms apart) is no cause yet."""
LATE = 2
"""A single late answer of many proves nothing of the endpoint."""
BYSTANDER = "bystander (GET /ping, taskdemo's own)"
UNSEEN = 3
"""Without the server's own evidence a bystander must have waited so many times longer, or the machine was just busy."""


def judge(run: RunDocument, found: Mapping[str, Any]) -> Blocking:
    """Return what the bystanders of this run say of its endpoint.

    `found` is what the server saw of its event loop's thread and its worker threads: `held` in its /health.
    A bystander that waited is not enough for a cause: the server must have seen it, or it happened again and again.
    """
    waits, threads_waits = _waits(run.bystander), _waits(run.bystander_threads or ())
    loop, threads = max(waits, default=None), max(threads_waits, default=None)
    places = {str(place): int(count) for place, count in dict(found.get("places") or {}).items()}
    starved, full = int(found.get("starved") or 0), int(found.get("full") or 0)
    seen = sum(places.values())
    late = sum(wait >= HELD_UP_S for wait in waits)
    cause: Any = "neither"
    if late and seen >= max(SEEN, starved):
        cause = "event loop held"
    elif late >= LATE and starved >= SEEN:
        cause = "interpreter busy"
    # A server that has not seen its loop late may yet have been held, by code that keeps the interpreter for itself.
    elif late >= LATE and sum(wait >= UNSEEN * HELD_UP_S for wait in waits) >= LATE:
        cause = "event loop held"
    elif full >= SEEN and threads is not None and threads >= HELD_UP_S:
        cause = "threads used up"
    elif max(loop or 0.0, threads or 0.0) >= HELD_UP_S:
        cause = "not found"
    return Blocking(
        blocks=cause not in {"neither", "not found"},
        cause=cause,
        loop_wait_s=loop,
        threads_wait_s=threads,
        places=[
            Place(place=place, share=count / (seen + starved))
            for place, count in sorted(places.items(), key=lambda entry: -entry[1])[:PLACES]
        ],
    )


def sentence(blocking: Blocking) -> str:
    """Say whether the endpoint blocks the server, by how much, and why, where that was seen."""
    loop, threads = blocking.loop_wait_s, blocking.threads_wait_s
    if loop is None:
        return (
            "Whether this endpoint blocks the server was not measured: the run was too short for a bystander. "
            "Try --for 2."
        )
    limit = format_seconds(HELD_UP_S)
    if blocking.cause == "event loop held":
        why = (
            f"it blocks the event loop{_where(blocking)}, so everybody waits"
            if blocking.places
            else "the event loop answered nobody for a while, and what blocked it is not known"
        )
        text = f"This endpoint blocks the server: {why}. A {BYSTANDER} waited up to {format_seconds(loop)}."
    elif blocking.cause == "interpreter busy":
        text = (
            "This endpoint slows the whole server: it computes in threads, which take the interpreter from the event "
            f"loop. A {BYSTANDER} waited up to {format_seconds(loop)}."
        )
    elif blocking.cause == "threads used up":
        return (
            f"This endpoint uses up the worker threads: all were taken while others waited for one. Beside it a plain "
            f"`def` endpoint of taskdemo's waited up to {format_seconds(threads or 0.0)}, an `async def` one "
            f"{format_seconds(loop)}."
        )
    else:
        beside = "" if threads is None else f", one that needs a worker thread up to {format_seconds(threads)}"
        waited = f"a {BYSTANDER} waited up to {format_seconds(loop)}{beside}"
        if blocking.cause == "not found":
            return (
                f"Whether this endpoint blocks the server is not clear: {waited}. "
                f"{limit} or more count as held up, but what held them up was not seen. Run it again."
            )
        text = f"This endpoint does not block the server: {waited} ({limit} count as held up)."
    if HELD_UP_S / CLOSE <= max(loop, threads or 0.0) < CLOSE * HELD_UP_S:
        limit = "that" if blocking.cause == "neither" else f"the {limit} that count as held up"
        text += f" It is close to {limit}: run it again to be sure."
    return text


def _waits(calls: Iterable[BystanderRow]) -> list[float]:
    """Return how long each call took, or had taken without an answer when nobody waited for it any more."""
    return [call.done_s - call.sent_s for call in calls if call.sent_s is not None and call.done_s is not None]


def _where(blocking: Blocking) -> str:
    places = blocking.places
    if not places:
        return ""
    often = "" if places[0].share >= MOST_OF_IT else "among others "
    return f" ({often}at {shortened(places[0].place, 80)})"
