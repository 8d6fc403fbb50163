"""A background task that fails: the answer had gone out."""

from fastapi import BackgroundTasks, FastAPI

app = FastAPI()


def send_mail() -> None:
    raise ValueError("no such address")


@app.get("/")
async def order(background_tasks: BackgroundTasks) -> str:
    background_tasks.add_task(send_mail)
    return "accepted"
