"""A background task that is called where it should be added."""

from fastapi import BackgroundTasks, FastAPI

app = FastAPI()


def send_mail(to: str) -> None:
    pass


@app.get("/")
async def order(background_tasks: BackgroundTasks) -> str:
    background_tasks.add_task(send_mail("a@b.example"))  # type: ignore[arg-type, func-returns-value]
    return "accepted"
