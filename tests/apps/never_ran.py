"""Background tasks that were added and never run: the answer is not the one that they hang on, or one of them fails."""

from fastapi import BackgroundTasks, FastAPI, HTTPException
from fastapi.responses import JSONResponse
from starlette.background import BackgroundTask

app = FastAPI()


def send_mail() -> None: ...


def write_log() -> None:
    raise OSError("disk full")


@app.get("/raises")
async def raises(background_tasks: BackgroundTasks) -> None:
    background_tasks.add_task(send_mail)
    raise HTTPException(503, "try again")


@app.get("/breaks")
async def breaks(background_tasks: BackgroundTasks) -> int:
    background_tasks.add_task(send_mail)
    return {"price": 1}["prize"]


@app.get("/fails-before")
async def fails_before(background_tasks: BackgroundTasks) -> str:
    background_tasks.add_task(write_log)
    background_tasks.add_task(send_mail)
    return "accepted"


@app.get("/has-its-own")
async def has_its_own(background_tasks: BackgroundTasks) -> JSONResponse:
    background_tasks.add_task(send_mail)
    return JSONResponse("accepted", background=BackgroundTask(send_mail))
