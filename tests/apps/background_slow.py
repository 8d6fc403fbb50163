"""A background task that takes its time, in a thread: right."""

import time

from fastapi import BackgroundTasks, FastAPI

app = FastAPI()


@app.get("/")
async def order(background_tasks: BackgroundTasks) -> str:
    background_tasks.add_task(time.sleep, 0.8)
    return "accepted"
