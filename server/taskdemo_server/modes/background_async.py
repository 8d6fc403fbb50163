"""Mode background-async: like background, with an async function, which runs on the event loop."""

from typing import Annotated

from fastapi import BackgroundTasks, FastAPI, Query

from taskdemo_server.work import slow_work_async

app = FastAPI()


@app.get("/")
async def hello(
    background_tasks: BackgroundTasks,
    message: Annotated[str, Query(max_length=4096)] = "Hello",
) -> dict[str, str]:
    background_tasks.add_task(slow_work_async, message)
    return {"message": "Hello World!"}
