"""Mode `background`: the tutorial's way. The response goes out, then the function runs in a worker thread."""

from fastapi import BackgroundTasks

from taskdemo_server.contract.events import DEFAULT_MESSAGE
from taskdemo_server.modes.endpoint import Endpoint, Greeting, Message
from taskdemo_server.work import Work


def endpoint(work: Work) -> Endpoint:
    """Answer at once; an ordinary function runs afterwards in a worker thread."""

    async def hello(background_tasks: BackgroundTasks, message: Message = DEFAULT_MESSAGE) -> Greeting:
        background_tasks.add_task(work.run, message)
        return {"message": "Hello World!"}

    return Endpoint(
        hello, cannot_cancel="BackgroundTasks keeps no handle on a task: once added, nothing can take it back."
    )
