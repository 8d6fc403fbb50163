"""Mode async: an `async def` endpoint that awaits an async version of the work."""

from typing import Annotated

from fastapi import FastAPI, Query

from taskdemo_server.work import slow_work_async

app = FastAPI()


@app.get("/")
async def hello(
    message: Annotated[str, Query(max_length=4096)] = "Hello",
) -> dict[str, str]:
    await slow_work_async(message)  # others are served meanwhile
    return {"message": "Hello World!"}  # or what slow_work_async returned
