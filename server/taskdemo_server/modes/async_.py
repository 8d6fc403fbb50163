"""Mode `async`: an `async def` endpoint that awaits an async version of the work."""

from taskdemo_server.contract.events import DEFAULT_MESSAGE
from taskdemo_server.modes.endpoint import Endpoint, Greeting, Message
from taskdemo_server.work import Work


def endpoint(work: Work) -> Endpoint:
    """Let the caller wait, and serve others whenever the work awaits something."""

    async def hello(message: Message = DEFAULT_MESSAGE) -> Greeting:
        await work.run_async(message)
        return {"message": "Hello World!"}

    return Endpoint(
        hello, cannot_cancel="The work is awaited inside its request, and FastAPI gives others no handle on that."
    )
