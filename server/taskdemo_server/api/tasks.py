"""GET /tasks, GET and DELETE /tasks/{id}: the state of the tasks, and cancelling where the engine itself can."""

import asyncio
from typing import Annotated

from fastapi import APIRouter, HTTPException, Query, Response
from typing_extensions import TypedDict  # pydantic wants this one on Python 3.11

from taskdemo_server.api.state import State, refusal
from taskdemo_server.contract.events import ENDED, TaskRecord


class TaskView(TypedDict):
    """A task, as recorded in the journal; times are Unix seconds."""

    id: str
    state: str
    mode: str
    accepted_at: float | None
    started_at: float | None
    ended_at: float | None
    cpu_s: float | None
    queued_s: float | None
    where: str | None
    message: str | None
    error: str | None


def router(state: State) -> APIRouter:
    """Return the routes."""
    routes, index = APIRouter(), state.index
    unknown = refusal(404, "There is no such task.")
    refused = refusal(409, "This mode, or the task's state, does not allow it.")

    async def record_of(task_id: str) -> TaskRecord:
        # The journal may be long; asyncio's own threads are free even when the works occupy all of AnyIO's.
        await asyncio.to_thread(index.update)
        if (record := index.find(task_id)) is None:
            raise HTTPException(404, "There is no such task, or it ended long ago.")
        return record

    @routes.get(
        "/tasks",
        summary="List the tasks, newest last: all that have not ended, and the last that have",
        responses={
            200: {"headers": {"X-Total-Count": {"description": "All tasks there were.", "schema": {"type": "integer"}}}}
        },
    )
    async def tasks(
        response: Response,
        limit: Annotated[int, Query(ge=1, le=10_000)] = 1000,
        offset: Annotated[int, Query(ge=0, le=2**53)] = 0,
    ) -> list[TaskView]:
        await asyncio.to_thread(index.update)
        response.headers["X-Total-Count"] = str(index.total)
        return [_view(record) for record in await asyncio.to_thread(index.page, offset, limit)]

    @routes.get("/tasks/{task_id}", summary="Show one task", responses=unknown)
    async def task(task_id: str) -> TaskView:
        return _view(await record_of(task_id))

    @routes.delete("/tasks/{task_id}", summary="Cancel a task, where the mode can", responses=unknown | refused)
    async def cancel(task_id: str) -> TaskView:
        record = await record_of(task_id)
        if record.state in ENDED:
            raise HTTPException(409, f"The task has ended: it is {record.state}.")
        if why_not := await asyncio.to_thread(state.cancel, record):
            raise HTTPException(409, why_not)
        return _view(await record_of(task_id))

    return routes


def _view(record: TaskRecord) -> TaskView:
    return {
        "id": record.id,
        "state": record.state,
        "mode": record.mode,
        "accepted_at": record.accepted.at if record.accepted else None,
        "started_at": record.starts[0].at if record.starts else None,
        "ended_at": record.end.at if record.end else None,
        "cpu_s": record.end.cpu_s if record.end else None,
        "queued_s": record.end.queued_s if record.end else None,
        "where": record.starts[-1].where if record.starts else None,
        "message": record.message,
        "error": record.end.error if record.end else None,
    }
