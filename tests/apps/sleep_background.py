"""A background task that is `async def`, and blocks: after the answer, but on the event loop."""

import time

from fastapi import BackgroundTasks, FastAPI

app = FastAPI()


async def send_mail() -> None:
    time.sleep(0.3)


@app.get("/")
async def order(background_tasks: BackgroundTasks) -> str:
    background_tasks.add_task(send_mail)
    return "accepted"
