"""Mode threadpool: a plain `def` endpoint, which FastAPI runs in one of its 40 worker threads."""

from typing import Annotated

from fastapi import FastAPI, Query

from taskdemo_server.work import slow_work

app = FastAPI()


@app.get("/")
def hello(
    message: Annotated[str, Query(max_length=4096)] = "Hello",
) -> dict[str, str]:
    slow_work(message)
    return {"message": "Hello World!"}  # or what slow_work returned
