"""Mode background: the tutorial's way. The response goes out, then the function runs in a worker thread."""

from typing import Annotated

from fastapi import BackgroundTasks, FastAPI, Query

from taskdemo_server.work import slow_work

app = FastAPI()


@app.get("/")
async def hello(
    background_tasks: BackgroundTasks,
    message: Annotated[str, Query(max_length=4096)] = "Hello",
) -> dict[str, str]:
    background_tasks.add_task(slow_work, message)
    return {"message": "Hello World!"}
