"""Mode blocking: an `async def` endpoint that calls slow, ordinary code. The classic mistake."""

from typing import Annotated

from fastapi import FastAPI, Query

from taskdemo_server.work import slow_work

app = FastAPI()


@app.get("/")
async def hello(
    message: Annotated[str, Query(max_length=4096)] = "Hello",
) -> dict[str, str]:
    slow_work(message)  # blocks the event loop: nobody else is served
    return {"message": "Hello World!"}  # or what slow_work returned
