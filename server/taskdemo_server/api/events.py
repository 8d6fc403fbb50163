"""GET /events: the journal as server-sent events. POST /events: reports from workers on other machines.

FastAPI frames server-sent events itself (`fastapi.sse`), one validated object each. Here hundreds of lines, which are
JSON already, go out in one chunk, at a fiftieth of the cost.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Annotated, Final

from fastapi import APIRouter, Header, HTTPException, Request
from fastapi.responses import StreamingResponse
from msgspec.structs import replace
from starlette.requests import ClientDisconnect

from taskdemo_server.api.state import State, refusal
from taskdemo_server.contract.events import TaskEvent
from taskdemo_server.contract.text import escape

_POLL_S: Final = 0.02
_HEARTBEAT_S: Final = 10.0
_MOST_REPORTED: Final = 1 << 22
"""The maximum size of one report in bytes."""
_LONGEST_WAY_S: Final = 60.0
"""A report that seems to have taken longer comes from a machine that has rebooted, which restarts its clock."""


def router(state: State) -> APIRouter:
    """Return the route of those who follow the journal."""
    routes, journal = APIRouter(), state.tracking.journal

    @routes.get(
        "/events",
        summary="Follow the journal as server-sent events",
        response_class=StreamingResponse,
        responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
    )
    async def events(
        last_event_id: Annotated[int, Header(ge=0, le=2**53, description="Begin after this event.")] = 0,
    ) -> StreamingResponse:
        return StreamingResponse(
            # An id beyond the end belongs to another journal: the server has restarted since.
            stream(state, last_event_id if last_event_id <= journal.size() else 0),
            media_type="text/event-stream",
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )

    return routes


def reports(state: State) -> APIRouter:
    """Return the route of the workers of a page's engine."""
    routes = APIRouter()
    ahead: dict[tuple[str, str], float] = {}
    """Seconds by which a reporting machine's monotonic clock is ahead of ours, by its address and host name."""

    @routes.post(
        "/events",
        summary="Take what a worker on another machine reports of its tasks: lines of the journal",
        responses=refusal(413, "The report is too big."),
    )
    async def report(
        request: Request, clock: Annotated[float, Header(alias="X-Clock", ge=0, le=1e11, description="Its clock now.")]
    ) -> dict[str, int]:
        body = bytearray()
        try:
            async for piece in request.stream():
                body += piece
                if len(body) > _MOST_REPORTED:
                    raise HTTPException(413, f"A report is at most {_MOST_REPORTED >> 20} MiB.")
        except ClientDisconnect:  # the worker was killed while it sent this
            return {"taken": 0}
        # `seen` is too small by the time that the report was under way, so the largest one yet is the most accurate.
        seen = clock - time.monotonic()
        reported = [event for line in bytes(body).splitlines() if (event := TaskEvent.from_line(line))]
        taken = [event for event in reported if event.state != "accepted"]
        state.index.update()
        for event in taken:
            machine = request.client.host if request.client else "", event.host
            known = ahead.get(machine, seen)
            ahead[machine] = known if 0 <= known - seen < _LONGEST_WAY_S else seen
            # `ahead` may have grown since the work began, which must not put its end before that.
            starts = task.starts if (task := state.index.find(event.id)) and event.state != "started" else []
            begun = [one.clock for one in starts if (one.host, one.pid) == (event.host, event.pid)]
            at = max([event.clock - ahead[machine], *begun])
            state.tracking.journal.write(replace(event, clock=at).to_line())
        return {"taken": len(taken)}

    return routes


async def stream(state: State, offset: int) -> AsyncIterator[bytes]:
    """Yield the journal from `offset` on as server-sent events, many per chunk; an event's id is the offset after it.

    An event of type `trouble` says why the journal cannot be written; an empty one, that it can be again. Ends when the
    server drains and its last task has ended, so it never delays the shutdown.
    """
    journal, tracking = state.tracking.journal, state.tracking
    quiet_since = time.monotonic()
    told = ""
    yield b": the journal from here on\n\n"
    while True:
        if journal.trouble != told:
            told = journal.trouble
            yield b"event: trouble\ndata: %b\n\n" % escape(told).encode()
        last = tracking.draining.is_set() and not tracking.awaited
        lines, _ = journal.read(offset)
        if lines:
            pieces = []
            for line in lines.replace(b"\r", b" ").splitlines(keepends=True):  # \r would break the framing
                offset += len(line)
                pieces.append(b"id: %d\ndata: %b\n" % (offset, line))
            yield b"".join(pieces)
            quiet_since = time.monotonic()
        elif last:
            return
        else:
            if (now := time.monotonic()) - quiet_since >= _HEARTBEAT_S:
                yield b": still here\n\n"
                quiet_since = now
            await asyncio.sleep(_POLL_S)
